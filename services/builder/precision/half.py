"""FP32 graph → fp16 or bf16 graph, for compilers that are strongly typed: what is half there is half in the graph.

Half are the weights and every activation from the first to the last matrix operation. FP32 stay the graph's inputs and
outputs, what comes before the first matrix operation (in bf16, a pixel minus the mean loses digits), the arithmetic of shapes
(integers beyond 2048 are not exact in fp16), and the softmax of the scores. Casts stand only where the two meet, one per
tensor.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper

from services.builder.precision.graph import MATRIX_OPS, Graph, replace

_NUMPY: dict[int, np.dtype[Any]] = {TensorProto.FLOAT16: np.dtype(np.float16), TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}
_FP16_MAX = float(np.finfo(np.float16).max)
_STARTS = MATRIX_OPS | {"QuantizeLinear", "DequantizeLinear"}
# What may stand between the last matrix operation and the scores.
_SUFFIX_OPS = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Flatten", "Reshape", "Squeeze", "Identity"})


def to_half(graph: Graph, half: int, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Lower a graph to half precision.

    Args:
        graph: the FP32 graph, which may hold Q/DQ nodes; it is edited in place.
        half: ``TensorProto.FLOAT16`` or ``TensorProto.BFLOAT16``.
        keep: names of nodes that stay FP32.

    Returns:
        The model; names, types and shapes of its inputs and outputs are what they were.
    """
    return _Halver(graph, half, fp32_ends(graph) | set(keep)).run()


def fp32_ends(graph: Graph) -> set[str]:
    """Names of the nodes before the first matrix operation, of the arithmetic of shapes, and of those that make scores."""
    return {node.name for node in (*_exact(graph), *_suffix(graph))}


def _exact(graph: Graph) -> Iterator[NodeProto]:
    """Nodes that see only pixels, shapes or constants: not a matrix operation, and nothing they read comes from one."""
    inexact: set[str] = set()
    for node in graph.model.graph.node:
        if node.op_type in _STARTS or any(name in inexact for name in node.input):
            inexact.update(name for name in node.output if graph.is_float(name))
        else:
            yield node


def _suffix(graph: Graph) -> Iterator[NodeProto]:
    """Nodes between the last matrix operation and the graph's outputs."""
    ends = graph.outputs
    for node in reversed(graph.model.graph.node):
        if node.op_type in _SUFFIX_OPS and node.output[0] in ends:
            ends = ends | {node.input[0]}
            yield node


def _takes_half(parameters: Sequence[defs.OpSchema.FormalParameter], index: int) -> bool:
    """The operator's schema allows fp16 there. Asked for bf16 too: older schemas leave it out, the compilers do not."""
    return "tensor(float16)" in parameters[min(index, len(parameters) - 1)].types


class _Halver:
    """One walk over the nodes in their order; ``types`` says what each tensor is by now."""

    def __init__(self, graph: Graph, half: int, fp32: set[str]) -> None:
        self.graph = graph
        self.half = half
        self.fp32 = fp32
        self.types = dict(graph.types)
        self.nodes: list[NodeProto] = []
        self.initializers = dict(graph.initializers)
        self.cast: dict[tuple[str, int], str] = {}

    def run(self) -> onnx.ModelProto:
        for node in self.graph.model.graph.node:
            self._lower(node)
        for name in sorted(self.graph.outputs):
            self._restore(name)
        return replace(self.graph.model, self.nodes, self.initializers.values())

    def _lower(self, node: NodeProto) -> None:
        # A Cast says its type in an attribute, and a foreign operator has no schema: both keep FP32.
        half = node.name not in self.fp32 and node.op_type != "Cast" and defs.has(node.op_type, node.domain)
        schema = defs.get_schema(node.op_type, self.graph.opset, node.domain) if half else None
        for index, name in enumerate(node.input):
            if self.graph.is_float(name):
                wanted = self.half if schema and _takes_half(schema.inputs, index) else TensorProto.FLOAT
                node.input[index] = self._as(name, wanted)
        self.nodes.append(node)
        for index, name in enumerate(node.output):
            if self.graph.is_float(name) and schema and _takes_half(schema.outputs, index):
                self.types[name] = self.half

    def _as(self, name: str, wanted: int) -> str:
        """The tensor in the type wanted: itself, a converted initializer, or the output of a Cast."""
        if self.types[name] == wanted:
            return name
        if (name, wanted) not in self.cast:
            other = f"{name}__{TensorProto.DataType.Name(wanted).lower()}"
            self.cast[name, wanted] = other
            if name in self.initializers:
                self.initializers[other] = _converted(self.initializers[name], other, wanted)
            else:
                self.nodes.append(helper.make_node("Cast", [name], [other], name=f"{other}_cast", to=wanted))
        return self.cast[name, wanted]

    def _restore(self, output: str) -> None:
        """Give a graph output its FP32 back."""
        if self.types[output] != self.half:
            return
        inner = f"{output}__half"
        for node in self.nodes:
            node.input[:] = [inner if name == output else name for name in node.input]
            node.output[:] = [inner if name == output else name for name in node.output]
        self.nodes.append(helper.make_node("Cast", [inner], [output], name=f"{output}__cast", to=TensorProto.FLOAT))


def _converted(tensor: TensorProto, name: str, wanted: int) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    if wanted == TensorProto.FLOAT16:
        values = np.where(np.isfinite(values), values.clip(-_FP16_MAX, _FP16_MAX), values)
    return numpy_helper.from_array(values.astype(_NUMPY[wanted]), name)
