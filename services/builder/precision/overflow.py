"""Finds what fp16 cannot hold, by running the FP32 graph on real inputs."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.builder.precision.graph import Graph
from services.onnx_graphs.session import session

# A quarter of the largest fp16 number: pictures that nobody calibrated with may go beyond those that were.
LIMIT = float(np.finfo(np.float16).max) / 4
_SAMPLES = 16


def beyond_fp16(graph: Graph, inputs: NDArray[Any]) -> list[str]:
    """Names of the nodes that make or read a tensor whose largest absolute value is above ``LIMIT``.

    Args:
        graph: the FP32 graph; it is not changed.
        inputs: as the graph takes them, UINT8 [N, H, W, 3] or FP32 [N, 3, H, W]; the first 16 are run.
    """
    tensors = [name for node in graph.model.graph.node for name in node.output if graph.is_float(name)]
    peaks = _peaks(graph.model, tensors, inputs[:_SAMPLES])
    large = {name for name, peak in zip(tensors, peaks, strict=True) if peak > LIMIT}
    large |= {name for name, tensor in graph.initializers.items() if graph.is_float(name) and _peak(tensor) > LIMIT}
    return [node.name for node in graph.model.graph.node if large.intersection((*node.input, *node.output))]


def _peak(tensor: TensorProto) -> float:
    """Largest finite absolute value of a constant; an infinity is meant, and fp16 has it too."""
    values = np.abs(numpy_helper.to_array(tensor))
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))


def _peaks(model: onnx.ModelProto, tensors: list[str], inputs: NDArray[Any]) -> NDArray[Any]:
    """Largest absolute value of each tensor, FP32 [len(tensors)], one input at a time."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for index, name in enumerate(tensors):
        probe.graph.node.append(helper.make_node("Abs", [name], [f"peak_{index}_abs"]))
        probe.graph.node.append(helper.make_node("ReduceMax", [f"peak_{index}_abs"], [f"peak_{index}"], keepdims=0))
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(f"peak_{index}", TensorProto.FLOAT, []) for index in range(len(tensors)))
    probing = session(probe)
    name = probing.get_inputs()[0].name
    peaks: NDArray[Any] = np.max([probing.run(None, {name: inputs[i : i + 1]}) for i in range(len(inputs))], axis=0)
    return peaks
