"""A fixed batch set free: followed through the graph, and taken out of every constant shape that holds it.

Exporters write the batch into the target of each Reshape, into Expand, and into constants that were one row repeated. Between two
Reshapes it need not be the first dimension either: attention merges it with the heads, or moves it to the second place. So for
every tensor the pass knows which dimension holds the batch, and where in it. Where a Reshape leaves a choice, the ways are
tried in turn; whoever takes a graph from here has to prove it by running it.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper

from services.onnx_graphs.inspect import opset_of
from services.onnx_graphs.session import reason

_OTHER = 7  # times the fixed batch: what a dimension is multiplied by when the batch is
_ATTEMPTS = 16
_ROW_BY_ROW = frozenset({"Add", "Sub", "Mul", "Div", "Where"})
_SMALL = 4096  # elements of a constant that may say a shape

Shape = tuple[int, ...]


class Place(NamedTuple):
    """Where a tensor holds the batch: dimension ``axis`` is ``outer`` x batch x the rest."""

    axis: int
    outer: int


class ConflictError(Exception):
    """At this node the batch cannot be followed any further."""


Question = tuple[Shape, Place, Shape]
"""What a Reshape asks: the shape it takes, where the batch is in that, and the shape it makes."""


def freed(model: onnx.ModelProto, batch: int) -> Iterator[onnx.ModelProto]:
    """The graph with a dynamic batch, in each of the ways that are possible, the most natural one first.

    Args:
        model: one input ``[batch,...]``; its shapes are constants (see ``onnx_graphs.simplify``). It is left as it is.
        batch: the fixed batch.

    Raises:
        ConflictError: there is no way, and at which node the last one ended.
    """
    answers: dict[Question, int] = {}
    found = False
    for _ in range(_ATTEMPTS):
        attempt = _Attempt(model, batch, answers)
        conflict = None
        try:
            made = attempt.run()
        except ConflictError as error:
            conflict = error
        else:
            found = True
            yield made
        while answers:  # count on, like an odometer: the last question first
            question, answer = answers.popitem()
            if answer + 1 < len(attempt.ways[question]):
                answers[question] = answer + 1
                break
        if not answers:
            if conflict and not found:
                raise conflict
            return


class _Attempt:
    """One walk through the graph with the answers given so far; new questions are added with their first answer."""

    def __init__(self, model: onnx.ModelProto, batch: int, answers: dict[Question, int]) -> None:
        self.model, self.batch, self.answers = model, batch, answers
        self.opset = opset_of(model)
        self.opsets = [
            helper.make_opsetid("" if entry.domain == "ai.onnx" else entry.domain, entry.version) for entry in model.opset_import
        ]
        self.ways: dict[Question, list[Place]] = {}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types = {name: helper.make_tensor_type_proto(tensor.data_type, tensor.dims) for name, tensor in self.constants.items()}
        self.places: dict[str, Place] = {}
        self.nodes: list[NodeProto] = []

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        self.types[graph.input[0].name] = graph.input[0].type
        self.places[graph.input[0].name] = Place(0, 1)
        for given in graph.node:
            node = NodeProto()
            node.CopyFrom(given)
            fixed = self._inferred(node, self.types)
            if any(name in self.places for name in node.input):
                node = self._rewritten(node, fixed)
                self._follow(node, fixed)
            self.types |= fixed
            self.nodes.append(node)
        if self.places.get(graph.output[0].name) != Place(0, 1):
            raise ConflictError(f"the batch is not the first dimension of {graph.output[0].name}")
        used = {name for node in self.nodes for name in node.input}
        made = onnx.ModelProto()
        made.CopyFrom(onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import))
        made.producer_name, made.producer_version = self.model.producer_name, self.model.producer_version
        made.graph.CopyFrom(onnx.GraphProto(name=graph.name, input=graph.input, output=graph.output, node=self.nodes))
        made.graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in used)
        return made

    def _shape(self, name: str) -> Shape:
        return tuple(dim.dim_value for dim in self.types[name].tensor_type.shape.dim)

    def _inferred(self, node: NodeProto, types: dict[str, TypeProto]) -> dict[str, TypeProto]:
        small = {name: self.constants[name] for name in node.input if name in self.constants and math.prod(self._shape(name)) <= _SMALL}
        try:
            version = next(entry.version for entry in self.opsets if entry.domain == node.domain)
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            return onnx.shape_inference.infer_node_outputs(
                schema, node, {name: types[name] for name in node.input if name}, small, opset_imports=self.opsets
            )
        except Exception as error:  # of onnx's own, without a base
            raise ConflictError(f"node {node.name or node.output[0]} ({node.op_type}): {reason(error)}") from None

    def _rewritten(self, node: NodeProto, fixed: dict[str, TypeProto]) -> NodeProto:
        if node.op_type == "Reshape" and node.input[0] in self.places:
            self._free_reshape(node, _sizes(fixed[node.output[0]]))
        elif node.op_type == "Expand" and node.input[0] in self.places:
            self._free_expand(node)
        elif node.op_type == "Gather" and node.input[0] in self.places and node.input[1] in self.constants:
            self._free_gather(node)
        else:
            self._free_constants(node)
        return node

    def _follow(self, node: NodeProto, fixed: dict[str, TypeProto]) -> None:
        """Find where the outputs hold the batch, by what becomes of their shapes when it is multiplied."""
        source = next(name for name in node.input if name in self.places)
        size = self._shape(source)[self.places[source].axis]
        grown = self._inferred(node, self.types | {name: self._grown(name) for name in node.input if name in self.places})
        for name, kind in fixed.items():
            before, after = _sizes(kind), _sizes(grown[name])
            axes = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
            if not axes:
                continue
            if len(axes) > 1 or after[axes[0]] != before[axes[0]] * _OTHER:
                raise ConflictError(f"node {node.name or name} ({node.op_type}) mixes the rows of a batch")
            if name not in self.places:
                self.places[name] = Place(axes[0], self.places[source].outer if before[axes[0]] == size else 1)

    def _grown(self, name: str) -> TypeProto:
        kind = TypeProto()
        kind.CopyFrom(self.types[name])
        kind.tensor_type.shape.dim[self.places[name].axis].dim_value *= _OTHER
        return kind

    def _free_reshape(self, node: NodeProto, made: Shape) -> None:
        """Choose the dimension of the result that holds the batch; it becomes 0 where the input has it there too, else -1."""
        taken, place = self._shape(node.input[0]), self.places[node.input[0]]
        question = (taken, place, made)
        ways = self.ways[question] = _ways(taken, place, made, self.batch)
        if not ways:
            raise ConflictError(f"node {node.name or node.output[0]} (Reshape): {list(made)} has no place for the batch of {list(taken)}")
        new = ways[self.answers.setdefault(question, 0)]
        target = list(made)
        same = new.axis == place.axis and made[new.axis] == taken[new.axis]
        target[new.axis] = 0 if same else -1
        node.input[1] = self._constant(f"{node.output[0]}/freed/shape", np.array(target, np.int64))
        _drop(node, "allowzero")
        self.places[node.output[0]] = new

    def _free_expand(self, node: NodeProto) -> None:
        """An Expand keeps the batch of what it expands where its shape says 1."""
        if node.input[1] not in self.constants:
            return
        shape = numpy_helper.to_array(self.constants[node.input[1]]).copy()
        shape[self.places[node.input[0]].axis - len(self._shape(node.input[0]))] = 1
        node.input[1] = self._constant(f"{node.output[0]}/freed/shape", shape)

    def _free_gather(self, node: NodeProto) -> None:
        """A strided view: the whole batch flattened, and picked from by constant indices. Picked from row by row instead."""
        data, indices = node.input[0], numpy_helper.to_array(self.constants[node.input[1]])
        shape = self._shape(data)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if len(shape) != 1 or axis != 0 or self.places[data].outer != 1 or not indices.ndim or indices.shape[0] != self.batch:
            return
        width = shape[0] // self.batch
        rows = np.where(indices < 0, indices + shape[0], indices) - width * np.arange(self.batch).reshape(-1, *[1] * (indices.ndim - 1))
        if (rows != rows[0]).any() or rows.min() < 0 or rows.max() >= width:
            return
        split = f"{node.output[0]}/freed/rows"
        target = self._constant(f"{split}/shape", np.array([-1, width], np.int64))
        self.nodes.append(helper.make_node("Reshape", [data, target], [split], name=split))
        self.types[split] = helper.make_tensor_type_proto(self.types[data].tensor_type.elem_type, [self.batch, width])
        self.places[split] = Place(0, 1)
        node.input[:] = [split, self._constant(f"{split}/indices", rows[0])]
        _drop(node, "axis")
        node.attribute.append(helper.make_attribute("axis", 1))

    def _free_constants(self, node: NodeProto) -> None:
        """A constant that is one row repeated ``batch`` times becomes that row; beside a Concat, repeated as often as the batch says."""
        if node.op_type != "Concat" and (self.batch == 1 or node.op_type not in _ROW_BY_ROW):
            return
        source = next(name for name in node.input if name in self.places)
        axis, rank = self.places[source].axis, len(self._shape(source))
        for index, name in enumerate(node.input):
            if name not in self.constants or len(self._shape(name)) != rank or self._shape(name)[axis] != self.batch:
                continue
            values = numpy_helper.to_array(self.constants[name])
            row = values.take([0], axis)
            if (values != row).any():
                continue
            single = self._constant(f"{node.output[0]}/freed/row{index}", row)
            node.input[index] = self._repeated(single, source, axis) if node.op_type == "Concat" else single

    def _repeated(self, single: str, source: str, axis: int) -> str:
        """A constant of one row, expanded to the batch of ``source``."""
        sizes, count, shape, out = (f"{single}/{part}" for part in ("sizes", "count", "shape", "repeated"))
        rank = len(self._shape(single))
        axis_name = self._constant(f"{single}/axis", np.array([axis], np.int64))
        parts = [self._constant(f"{single}/ones{n}", np.ones(n, np.int64)) for n in (axis, rank - axis - 1) if n]
        parts.insert(1 if axis else 0, count)
        self.nodes += [
            helper.make_node("Shape", [source], [sizes], name=sizes),
            helper.make_node("Gather", [sizes, axis_name], [count], name=count),
            helper.make_node("Concat", parts, [shape], name=shape, axis=0),
            helper.make_node("Expand", [single, shape], [out], name=out),
        ]
        repeated = list(self._shape(single))
        repeated[axis] = self.batch
        self.types[out] = helper.make_tensor_type_proto(self.types[single].tensor_type.elem_type, repeated)
        self.places[out] = Place(axis, 1)
        return out

    def _constant(self, name: str, values: np.ndarray) -> str:  # type: ignore[type-arg]
        tensor: TensorProto = numpy_helper.from_array(np.ascontiguousarray(values), name)
        self.constants[name] = tensor
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        return name


def _ways(taken: Shape, place: Place, made: Shape, batch: int) -> list[Place]:
    """The dimensions of ``made`` that may hold the batch: as many elements lie before it, in memory, as in ``taken``."""
    before = math.prod(taken[: place.axis]) * place.outer
    ways = []
    for axis, size in enumerate(made):
        outer, rest = divmod(before, math.prod(made[:axis]))
        if outer and not rest and size % (outer * batch) == 0:
            ways.append(Place(axis, outer))
    # Most likely a dimension of its own, then the outer part of one, then the inner part.
    return sorted(ways, key=lambda way: (made[way.axis] != batch, way.outer != 1, way.axis))


def _sizes(kind: TypeProto) -> Shape:
    return tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)


def _drop(node: NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
