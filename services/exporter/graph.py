"""Edits of an FP32 classifier graph: what comes before the network (pixels) and after it (probabilities)."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"
PIXEL_INPUT = "images"
FLOAT_INPUT = "input"
SCORES = "scores"


def with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Call the one input ``input`` and the one output ``scores``."""
    graph = model.graph
    _rename(graph, graph.input[0].name, FLOAT_INPUT)
    _rename(graph, graph.output[0].name, SCORES)
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


def ends_in_softmax(model: onnx.ModelProto) -> bool:
    """Whether the output is made by a Softmax."""
    output = model.graph.output[0].name
    return any(node.op_type == "Softmax" and output in node.output for node in model.graph.node)


def with_probabilities(model: onnx.ModelProto) -> onnx.ModelProto:
    """Append a Softmax over the classes."""
    graph = model.graph
    _rename(graph, SCORES, "logits")
    graph.node.append(helper.make_node("Softmax", ["logits"], [SCORES], name="postprocess_softmax", axis=1))
    graph.output[0].name = SCORES
    return model


def with_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the final Softmax away, if there is one."""
    if not ends_in_softmax(model):
        return model
    graph = model.graph
    softmax = next(node for node in graph.node if node.op_type == "Softmax" and SCORES in node.output)
    _rename(graph, SCORES, "probabilities")
    logits = softmax.input[0]
    graph.node.remove(softmax)
    _rename(graph, logits, SCORES)
    graph.output[0].name = SCORES
    return model


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
