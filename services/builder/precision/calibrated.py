"""Post-training quantisation by ONNX Runtime's quantiser: FP32 graph → graph with Q/DQ nodes, ranges from real inputs.

Two recipes, because the compilers are fast with different graphs. TensorRT: symmetric S8 activations and S8 weights per output channel,
Q/DQ at the inputs of matrix operations and nowhere else, no quantised bias (its parser refuses INT32 there), and on the residual
branch of an Add, so that the other branch fuses with its convolution (NVIDIA TensorRT documentation, "Working with Quantized Types",
and the recipe NVIDIA's ModelOpt applies). ONNX Runtime: U8 activations, S8 weights, outputs too, which its AVX2 kernels need.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from services.builder.precision.graph import Graph, replace

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_BATCH = 4


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration inputs a few at a time."""

    def __init__(self, name: str, inputs: NDArray[Any]) -> None:
        starts = range(0, len(inputs), _BATCH)
        self.feeds: Iterator[dict[str, NDArray[Any]]] = iter([{name: inputs[start : start + _BATCH]} for start in starts])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.feeds, None)


def for_tensorrt(graph: Graph, inputs: NDArray[Any]) -> onnx.ModelProto:
    """Symmetric S8/S8 Q/DQ around what TensorRT runs in INT8; everything else stays FP32."""
    residuals = dict(_residuals(graph))
    model = _quantize(
        graph.model,
        inputs,
        op_types_to_quantize=[*_WEIGHTED, "Add"],
        nodes_to_quantize=[*_weighted(graph), *residuals],
        activation_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*_WEIGHTED, "Add"],
            "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
        },
    )
    return _fuse_residuals(model, residuals)


def _weighted(graph: Graph) -> list[str]:
    """Matrix operations with constant weights; the products inside attention stay as they are, they fuse into one kernel."""
    return [node.name for node in graph.model.graph.node if node.op_type in _WEIGHTED and node.input[1] in graph.initializers]


def _residuals(graph: Graph) -> Iterator[tuple[str, str]]:
    """Add nodes that join a convolution and a residual branch, with the convolution's tensor: the last one, where both are."""
    position = {node.name: index for index, node in enumerate(graph.model.graph.node)}
    for node in graph.model.graph.node:
        made = [graph.producer[name] for name in node.input if node.op_type == "Add" and name in graph.producer]
        convolutions = [maker for maker in made if maker.op_type == "Conv" and len(graph.consumers[maker.output[0]]) == 1]
        if len(made) == 2 and convolutions:
            yield node.name, max(convolutions, key=lambda maker: position[maker.name]).output[0]


def _fuse_residuals(model: onnx.ModelProto, residuals: dict[str, str]) -> onnx.ModelProto:
    """Take the Q/DQ pair off the branch that an Add shares a kernel with."""
    producer = {name: node for node in model.graph.node for name in node.output}
    dropped: set[str] = set()
    for node in model.graph.node:
        if node.name not in residuals:
            continue
        for index, name in enumerate(node.input):
            dequantize = producer[name]
            quantize = producer[dequantize.input[0]]
            if quantize.input[0] == residuals[node.name]:
                node.input[index] = quantize.input[0]
                dropped |= {quantize.name, dequantize.name}
    return replace(model, [node for node in model.graph.node if node.name not in dropped], model.graph.initializer)


def for_onnxruntime(graph: Graph, inputs: NDArray[Any], **options: Any) -> onnx.ModelProto:
    """U8/S8 Q/DQ."""
    options = {"activation_type": QuantType.QUInt8, "reduce_range": True} | options
    return _quantize(graph.model, inputs, **options)


def _quantize(model: onnx.ModelProto, inputs: NDArray[Any], **options: Any) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "quantized.onnx"
        options = {"calibrate_method": CalibrationMethod.MinMax, "per_channel": True} | options
        root = logging.getLogger()
        quiet = root.manager.disable
        logging.disable(logging.WARNING)  # it advises pre-processing that the exporter and `Graph` have done
        try:
            quantize_static(model, out, _Batches(model.graph.input[0].name, inputs), weight_type=QuantType.QInt8, **options)
        finally:
            logging.disable(quiet)
        return onnx.load(str(out))
