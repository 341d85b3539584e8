"""Symmetric S8 Q/DQ graph → the same with half scales, in S8 or in E4M3.

ONNX Runtime's quantiser makes FP8 scales from the spread of the values, not from their range, and clips what lies outside. So the
ranges come from an S8 graph, as NVIDIA's ModelOpt does it too: the largest value becomes 448, the largest of E4M3, instead of 127.
"""

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from services.builder.precision.graph import replace

_S8_MAX = 127.0
_LARGEST: dict[int, float] = {TensorProto.INT8: 127.0, TensorProto.FLOAT8E4M3FN: 448.0}
_NUMPY: dict[int, np.dtype[Any]] = {
    TensorProto.INT8: np.dtype(np.int8),
    TensorProto.FLOAT8E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
}
# What quantize_static calls the quantised form of a weight.
_SUFFIX = "_quantized"


def rescaled(model: onnx.ModelProto, weights: dict[str, onnx.TensorProto], kind: int) -> onnx.ModelProto:
    """Make every scale a number that fp16 holds exactly, and round the weights by it anew.

    Args:
        model: graph with symmetric S8 Q/DQ nodes, FP32 scales; it is edited in place.
        weights: the FP32 weights by name.
        kind: ``TensorProto.INT8`` or ``TensorProto.FLOAT8E4M3FN``.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        data, scale, zero = node.input
        if scale not in done:
            tensors[scale] = numpy_helper.from_array(_scale(numpy_helper.to_array(tensors[scale]), kind), scale)
            tensors[zero] = numpy_helper.from_array(numpy_helper.to_array(tensors[zero]).astype(_NUMPY[kind]), zero)
            done.add(scale)
        if data in tensors:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            exact = numpy_helper.to_array(weights[data.removesuffix(_SUFFIX)])
            tensors[data] = numpy_helper.from_array(_rounded(exact, numpy_helper.to_array(tensors[scale]), axis, kind), data)
    return replace(model, model.graph.node, tensors.values())


def _scale(s8: NDArray[Any], kind: int) -> NDArray[Any]:
    """FP32 scales of the type asked for, whole fp16 numbers, none of them zero."""
    wanted = (s8 * (_S8_MAX / _LARGEST[kind])).astype(np.float16)
    least: NDArray[Any] = np.maximum(wanted, np.finfo(np.float16).smallest_subnormal)
    return least.astype(np.float32)


def _rounded(weights: NDArray[Any], scale: NDArray[Any], axis: int, kind: int) -> NDArray[Any]:
    """Weights by their scale per channel, rounded to nearest even and clipped."""
    shape = [1] * weights.ndim
    if scale.ndim:
        shape[axis] = -1
    values: NDArray[Any] = (weights / scale.reshape(shape)).clip(-_LARGEST[kind], _LARGEST[kind])
    whole: NDArray[Any] = np.rint(values) if kind == TensorProto.INT8 else values
    return whole.astype(_NUMPY[kind])
