"""An ONNX graph prepared for a change of its arithmetic: named nodes, plain initializers, the type of every tensor."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.version_converter
from onnx import NodeProto, TensorProto

from services.builder.precision.spec import UnfitGraphError
from services.onnx_graphs.inspect import control_flow, opset_of
from services.onnx_graphs.simplify import simplified

MATRIX_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Graph:
    """An ONNX model with the look-ups that the passes need; the passes edit ``model`` in place, then drop this view.

    Attributes:
        model: the model; constants are initializers, every node has a name of its own.
        initializers: constant tensors by name.
        types: element type (``onnx.TensorProto.DataType``) of every tensor, by name.
        producer: node that makes a tensor, by the tensor's name.
        consumers: nodes that read a tensor, by the tensor's name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        _refuse_control_flow(model)
        _constants_to_initializers(model)
        _name_nodes(model)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types = _types(model)
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            self.producer.update({name: node for name in node.output if name})
            for name in node.input:
                if name:
                    self.consumers[name].append(node)

    @classmethod
    def load(cls, path: Path, least_opset: int = 0) -> "Graph":
        """Read a model file, raise its opset where it is below ``least_opset``, and fold its constants."""
        return cls(simplified(_raised(path, least_opset)))

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return opset_of(self.model)

    @property
    def outputs(self) -> set[str]:
        """Names of the graph's outputs."""
        return {value.name for value in self.model.graph.output}

    def is_float(self, name: str) -> bool:
        """The tensor is FP32."""
        return self.types.get(name) == TensorProto.FLOAT


def _raised(path: Path, least_opset: int) -> Path | onnx.ModelProto:
    """The file, or the model in a later opset."""
    model = onnx.load(str(path))
    return path if opset_of(model) >= least_opset else onnx.version_converter.convert_version(model, least_opset)


def _refuse_control_flow(model: onnx.ModelProto) -> None:
    """A branch reads tensors of the outer graph unseen; no classifier of ours has one."""
    for node in control_flow(model):
        raise UnfitGraphError(
            f"node {node.name or node.op_type}: the graph has control flow ({node.op_type}), which no precision but fp32 supports",
            hint="set PRECISION=fp32, or export the model without branches that depend on data",
        )


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    """Turn tensor-valued Constant nodes, and Identity of an initializer (a shared weight), into plain initializers."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    constants = {tensor.name for tensor in graph.initializer}
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [alias.get(name, name) for name in node.input]
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            constants.add(tensor.name)
        elif node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in outputs:
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _name_nodes(model: onnx.ModelProto) -> None:
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def replace(model: onnx.ModelProto, nodes: Iterable[NodeProto], initializers: Iterable[TensorProto]) -> onnx.ModelProto:
    """Give a model these nodes, and those of the initializers that they read; inferred types are dropped."""
    graph = model.graph
    nodes = [*nodes]
    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in initializers if tensor.name in used]
    new = onnx.GraphProto(name=graph.name, input=graph.input, output=graph.output, node=nodes, initializer=kept)
    graph.CopyFrom(new)
    return model
