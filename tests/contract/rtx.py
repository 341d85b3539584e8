"""NVIDIA's TensorRT-RTX compiler, which builds engines for a GPU without one."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx: NVIDIA's compiler, it needs no GPU")


class _Log(trt.ILogger):  # type: ignore[name-defined]
    def __init__(self):
        super().__init__()
        self.errors = []

    def log(self, severity, message):
        if severity <= trt.ILogger.ERROR:
            self.errors.append(message)


@dataclass(frozen=True)
class Compiled:
    """What the compiler said of a graph: errors, or inputs, outputs and layers."""

    errors: list[str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    size: int


def compile_graph(path: Path, capability: str, batches: tuple[int, int, int] = (1, 8, 32)) -> Compiled:
    """Parse and build for one compute capability, with a profile for the batch."""
    log = _Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        return Compiled([parser.get_error(index).desc() for index in range(parser.num_errors)], {}, 0)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    profile = builder.create_optimization_profile()
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    for tensor in tensors:
        profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in batches))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    tensors += [network.get_output(index) for index in range(network.num_outputs)]
    found = {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors}
    return Compiled(log.errors if engine is None else [], found, 0 if engine is None else engine.nbytes)


def matrix_types(path: Path) -> Counter[tuple[str, str]]:
    """Input types of the matrix layers as the compiler parsed them: how many (operation, type) there are."""
    log = _Log()
    network = trt.Builder(log).create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path)), log.errors
    counts: Counter[tuple[str, str]] = Counter()
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY):
            counts[layer.type.name, layer.get_input(0).dtype.name] += 1
        if layer.type == trt.LayerType.QUANTIZE:
            counts["QUANTIZE", layer.get_output(0).dtype.name] += 1
    return counts
