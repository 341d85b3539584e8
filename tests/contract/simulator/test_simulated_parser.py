"""The graphs that TensorRT's parser refuses, put to the simulator and, where it is installed, to NVIDIA's own parser."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

from tests.contract.simulator.simulated import Tensors, classifier, model, quantised

SIDE: tuple[Tensors, Tensors] = {"x": (T.FLOAT, ["n", 3, 8, 8])}, {"y": (T.FLOAT, ["n", 4, 6, 6])}
SAME: tuple[Tensors, Tensors] = {"x": (T.FLOAT, ["n", 3, 8, 8])}, {"y": (T.FLOAT, ["n", 3, 8, 8])}
F32, F16 = np.zeros((4, 3, 3, 3), np.float32), np.zeros((4, 3, 3, 3), np.float16)


def _uint8(operator: str, **attributes: Any) -> onnx.ModelProto:
    nodes = [helper.make_node(operator, ["x"], ["t"], name="bad", **attributes), helper.make_node("Cast", ["t"], ["y"], to=1)]
    return model(nodes, {"x": (T.UINT8, ["n", 8, 8, 3])}, {"y": (T.FLOAT, None)})


def _zero_point(value: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="bad"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return model(nodes, *SAME, s=np.array(1, np.float32), z=value)


def _quantised_bias() -> onnx.ModelProto:
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["bf"], name="bad", axis=0),
        helper.make_node("Conv", ["x", "w", "bf"], ["y"]),
    ]
    return model(nodes, *SIDE, w=F32, b=np.zeros(4, np.int32), s=np.ones(4, np.float32), z=np.zeros(4, np.int32))


BAD = {
    "UINT8 into Transpose": (_uint8("Transpose", perm=[0, 3, 1, 2]), "first input has type UInt8 but must have type"),
    "UINT8 into Flatten": (_uint8("Flatten"), "first input has type UInt8 but must have type"),
    "quantised bias": (_quantised_bias(), "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8"),
    "asymmetric U8": (_zero_point(np.array(128, np.uint8)), "Non-zero zero point is not supported"),
    "asymmetric S8": (_zero_point(np.array(3, np.int8)), "Non-zero zero point is not supported"),
    "mixed convolution": (
        model([helper.make_node("Conv", ["x", "w"], ["y"], name="bad")], *SIDE, w=F16),
        "`input` type is Float but `kernel` is of type Half",
    ),
    "mixed addition": (model([helper.make_node("Add", ["x", "a"], ["y"], name="bad")], *SAME, a=np.zeros(1, np.float16)), "same"),
    "unknown operator": (model([helper.make_node("Foo", ["x"], ["y"], name="bad", domain="acme")], *SAME), "Plugin not found"),
}
GOOD = {"fp32": classifier(), "fp16": classifier(T.FLOAT16), "S8/S8 Q/DQ": quantised(), "symmetric S8": _zero_point(np.array(0, np.int8))}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    from simulator.graph import Graph, RefusedNodeError

    graph, message = BAD[name]
    with pytest.raises(RefusedNodeError) as refused:
        Graph(graph).check()
    assert message in "\n".join(refused.value.lines())
    assert refused.value.name == "bad"


@pytest.mark.parametrize("name", GOOD)
def test_takes(name: str) -> None:
    from simulator.graph import Graph

    Graph(GOOD[name]).check()
