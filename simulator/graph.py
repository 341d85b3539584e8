"""The ONNX parser: which graphs TensorRT refuses, with its words.

The words of a type error are those of the parser that TensorRT-RTX shares with TensorRT; the unit tests put the same
graphs to both. The list of operators is that of github.com/onnx/onnx-tensorrt.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto as T
from onnx import numpy_helper, shape_inference

TYPE_NAMES: dict[int, str] = {
    T.FLOAT: "Float", T.FLOAT16: "Half", T.BFLOAT16: "BFloat16", T.FLOAT8E4M3FN: "FP8", T.INT8: "Int8", T.UINT8: "UInt8",
    T.INT32: "Int32", T.INT64: "Int64", T.BOOL: "Bool", T.DOUBLE: "Double", T.INT4: "Int4",
}  # fmt: skip
_ANY = "Float, Half, BFloat16, FP8, E8M0, FP4, Int4, Int8, Int64, Int32, or Bool"
_QUANTISED = "FP8, FP4, Int4, Int8, or UInt8"
_TAKES_UINT8 = {"Cast", "DequantizeLinear"}
_SAME_TYPES = {"Add": "SUM", "Sub": "SUB", "Mul": "PROD", "Div": "DIV", "Max": "MAX", "Min": "MIN", "Pow": "POW"}
_OWN_DOMAINS = ("", "ai.onnx", "trt.plugins")
_SUPPORTED = frozenset(json.loads(Path(__file__).with_name("tables").joinpath("operators.json").read_text())["operators"])


@dataclass(frozen=True)
class RefusedNodeError(Exception):
    """A node that the parser cannot import."""

    index: int
    operator: str
    output: str
    name: str
    where: str
    reason: str

    def lines(self) -> list[str]:
        """The error as the parser logs it."""
        return [
            f'ModelImporter.cpp:140: While parsing node number {self.index} [{self.operator} -> "{self.output}"]:',
            f"ModelImporter.cpp:142: --- Begin node ---\nNode name: {self.name}",
            "ModelImporter.cpp:143: --- End node ---",
            f"ModelImporter.cpp:151: ERROR: {self.where}:\n[6] {self.reason}",
        ]


class Graph:
    """An ONNX model with the element type of every tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        inferred = shape_inference.infer_shapes(model).graph
        self.types: dict[str, int] = {item.name: item.data_type for item in inferred.initializer}
        for item in (*inferred.input, *inferred.value_info, *inferred.output):
            self.types.setdefault(item.name, item.type.tensor_type.elem_type)
        self.weights = {item.name: item for item in model.graph.initializer}
        self.producer = {output: node for node in model.graph.node for output in node.output}

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """Graph inputs without the initialisers that old files list there too."""
        return [item for item in self.model.graph.input if item.name not in self.weights]

    def check(self) -> None:
        """Go through the nodes in order.

        Raises:
            RefusedNodeError: the first node that TensorRT's parser would not import.
        """
        for index, node in enumerate(self.model.graph.node):
            for where, reason in self._reasons(node):
                raise RefusedNodeError(index, node.op_type, node.output[0], node.name, where, reason)

    def _reasons(self, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        if node.domain not in _OWN_DOMAINS or node.op_type not in _SUPPORTED:
            reason = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
            yield "onnxOpCheckers.cpp:998 In function checkFallbackPluginImporter", reason
            return
        for rule in _RULES:
            reason = rule(self, node)
            if reason:
                where = (
                    "onnxOpImporters.cpp:1929 In function buildZeroPointTensor"
                    if rule is _zero_point
                    else "ModelImporter.cpp:489 In function parseNode"
                )
                yield (
                    where,
                    reason
                    if rule is _zero_point
                    else f"Invalid Node - {node.name}\nITensor::getDimensions: Error Code 4: API Usage Error ({reason})",
                )

    def type_name(self, tensor: str) -> str:
        """TensorRT's name of a tensor's element type; empty where it is not known."""
        return TYPE_NAMES.get(self.types.get(tensor, 0), "")


def _uint8(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type in _TAKES_UINT8 or graph.type_name(node.input[0] if node.input else "") != "UInt8":
        return ""
    return f"{node.name}: first input has type UInt8 but must have type {_ANY}. In checkType at /_src/optimizer/common/nodeBase.cpp:456"


def _dequantised(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type != "DequantizeLinear" or graph.type_name(node.input[0]) not in ("Int32", "Float", "Half"):
        return ""
    kind = graph.type_name(node.input[0])
    return f"{node.name}: input has type {kind} but must have type {_QUANTISED}. In checkType at /_src/optimizer/common/nodeBase.cpp:456"


def _zero_point(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
        return ""
    weight = graph.weights.get(node.input[2])
    if weight is None or weight.data_type not in (T.INT8, T.UINT8) or not numpy_helper.to_array(weight).any():
        return ""
    return (
        "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported. "
        "Please set kENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA to enable asymmetric quantization if it is on DLA."
    )


def _convolution(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type != "Conv":
        return ""
    found = [graph.type_name(name) for name in node.input]
    for role, kind in zip(("kernel", "bias"), found[1:], strict=False):
        if found[0] and kind and kind != found[0]:
            return (
                f"{node.name}: IConvolutionLayer `input` and `{role}` must be of same type. `input` type is {found[0]} "
                f"but `{role}` is of type {kind}. In validateTypes at /_src/optimizer/common/nodes/convolutionNode.cpp:88"
            )
    return ""


def _elementwise(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type not in (*_SAME_TYPES, "MatMul", "Gemm"):
        return ""
    found = list(dict.fromkeys(filter(None, (graph.type_name(name) for name in node.input))))
    if len(found) < 2:
        return ""
    if node.op_type in ("MatMul", "Gemm"):
        return f"{node.name}: IMatrixMultiplyLayer must have inputs of same type. They are of types {found[0]} and {found[1]}."
    kind = _SAME_TYPES[node.op_type]
    return f"{node.name}: IElementWiseLayer {kind} must have inputs of same type. They are of types {found[0]} and {found[1]}."


_RULES: tuple[Callable[[Graph, onnx.NodeProto], str], ...] = (_uint8, _dequantised, _zero_point, _convolution, _elementwise)
