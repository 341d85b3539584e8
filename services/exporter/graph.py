"""Edits of an FP32 classifier graph: what comes before the network (pixels) and after it (the kind of scores)."""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

BATCH = "batch"
PIXEL_INPUT = "images"
FLOAT_INPUT = "input"
SCORES = "scores"
_PASS_ON = frozenset({"Identity", "Flatten", "Reshape", "Squeeze"})


def with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Call the one input ``input`` and the one output ``scores``."""
    graph = model.graph
    _rename(graph, graph.input[0].name, FLOAT_INPUT)
    _rename(graph, graph.output[0].name, SCORES)
    return model


def with_dynamic_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the first dimension of input and output as the batch, and forget inferred shapes, which may hold another."""
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del model.graph.value_info[:]
    return model


def with_pixel_input(model: onnx.ModelProto, mean: tuple[float, ...], std: tuple[float, ...]) -> onnx.ModelProto:
    """Put normalisation into the graph: ``input`` FP32 ``[N,3,H,W]`` becomes ``images`` UINT8 ``[N,H,W,3]``.

    The Cast comes first because TensorRT refuses a Transpose of UINT8.

    Args:
        model: a graph whose input is named ``input``.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
    """
    graph = model.graph
    _, channels, height, width = (dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim)
    offset = (np.asarray(mean) * 255).astype(np.float32).reshape(1, 1, 1, 3)
    scale = (1 / (np.asarray(std) * 255)).astype(np.float32).reshape(1, 1, 1, 3)
    nodes = [
        helper.make_node("Cast", [PIXEL_INPUT], ["pixels_fp32"], name="preprocess_cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels_fp32", "preprocess_offset"], ["pixels_centred"], name="preprocess_offset"),
        helper.make_node("Mul", ["pixels_centred", "preprocess_scale"], ["pixels_scaled"], name="preprocess_scale"),
        helper.make_node("Transpose", ["pixels_scaled"], [FLOAT_INPUT], name="preprocess_layout", perm=[0, 3, 1, 2]),
    ]
    following = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + following)
    graph.initializer.extend(
        [numpy_helper.from_array(offset, "preprocess_offset"), numpy_helper.from_array(scale, "preprocess_scale")],
    )
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(PIXEL_INPUT, TensorProto.UINT8, [BATCH, height, width, channels]))
    return model


def last_operator(model: onnx.ModelProto) -> str:
    """The operator that makes the values of the output, seen through nodes that only pass them on; empty where there is none."""
    return node.op_type if (node := _last_node(model)) else ""


def without_last_operator(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the node that ``last_operator`` names away: what it read is passed on instead."""
    if node := _last_node(model):
        node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
    return model


def with_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Append a Softmax over the classes to a graph whose output is named ``scores``."""
    _rename(model.graph, SCORES, "logits")
    model.graph.node.append(helper.make_node("Softmax", ["logits"], [SCORES], name="postprocess_softmax", axis=1))
    model.graph.output[0].name = SCORES
    return model


def with_two_columns(model: onnx.ModelProto, factors: tuple[float, float], terms: tuple[float, float]) -> onnx.ModelProto:
    """Turn ``scores`` ``[N,1]`` into ``[N,2]``: the one score times each factor, plus each term."""
    graph = model.graph
    _rename(graph, SCORES, "single")
    graph.initializer.extend(
        numpy_helper.from_array(np.array([values], np.float32), name)
        for name, values in (("postprocess_factors", factors), ("postprocess_terms", terms))
    )
    graph.node.append(helper.make_node("Mul", ["single", "postprocess_factors"], ["scaled"], name="postprocess_mul"))
    graph.node.append(helper.make_node("Add", ["scaled", "postprocess_terms"], [SCORES], name="postprocess_add"))
    graph.output[0].CopyFrom(helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [BATCH, 2]))
    return model


def _last_node(model: onnx.ModelProto) -> NodeProto | None:
    made = {name: node for node in model.graph.node for name in node.output}
    node = made.get(model.graph.output[0].name)
    while node is not None and node.op_type in _PASS_ON:
        node = made.get(node.input[0])
    return node


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever it stands in the graph; one that has the new name already gets another."""
    if old == new:
        return
    if any(new in (*node.input, *node.output) for node in graph.node):
        _rename(graph, new, f"{new}_")
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            if value.name == old:
                value.name = new
