"""What the tests of the simulators share: small graphs, and the result of a simulated trtexec."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

SHAPES = ("--minShapes=images:1x8x8x3", "--optShapes=images:2x8x8x3", "--maxShapes=images:4x8x8x3")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Trtexec = Callable[..., Result]


Tensors = Mapping[str, tuple[int, Sequence[int | str] | None]]


def model(nodes: list[onnx.NodeProto], inputs: Tensors, outputs: Tensors, **weights: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    own = [helper.make_opsetid(node.domain, 1) for node in nodes if node.domain]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), *own], ir_version=10)


def classifier(kind: int = T.FLOAT) -> onnx.ModelProto:
    """Pixels to four scores, computed in FP32 or FP16."""
    dtype = np.float16 if kind == T.FLOAT16 else np.float32
    nodes = [
        helper.make_node("Cast", ["images"], ["c"], to=kind, name="cast"),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 3, 1, 2], name="transpose"),
        helper.make_node("Conv", ["t", "w", "b"], ["y"], name="conv"),
        helper.make_node("GlobalAveragePool", ["y"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Cast", ["f"], ["scores"], to=T.FLOAT, name="out"),
    ]
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(dtype)
    return model(nodes, {"images": (T.UINT8, ["batch", 8, 8, 3])}, {"scores": (T.FLOAT, ["batch", 4])}, w=weights, b=np.zeros(4, dtype))


def quantised() -> onnx.ModelProto:
    """The classifier's convolution between symmetric Q/DQ pairs."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], name="dqw"),
        helper.make_node("Conv", ["d", "wd"], ["y"], name="conv"),
    ]
    weights = np.random.default_rng(0).integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
    scale: dict[str, np.ndarray] = {"s": np.array(0.02, np.float32), "z": np.array(0, np.int8), "w": weights}
    return model(nodes, {"x": (T.FLOAT, ["n", 3, 8, 8])}, {"y": (T.FLOAT, ["n", 4, 6, 6])}, **scale)
