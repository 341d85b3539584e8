"""Which operations are worth 8 bits: the rules of NVIDIA's ModelOpt, and what TensorRT's release notes say of FP8."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.builder.precision import UnfitGraphError, lower
from services.builder.precision.graph import Graph
from services.builder.precision.targets import targets, weighted

INT8, FP8 = TensorProto.INT8, TensorProto.FLOAT8E4M3FN


def weights(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def graph(nodes: list[onnx.NodeProto], constants: list[TensorProto], shape: list) -> onnx.ModelProto:
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    given = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "net", [taken], [given], constants), opset_imports=[helper.make_opsetid("", 19)])


def convolution(out: int, in_per_group: int, kernel: tuple[int, int], groups: int, *, stem: bool = False) -> onnx.ModelProto:
    """A convolution behind another one, or as the first."""
    channels = in_per_group * groups
    nodes, constants = [], [weights("w", out, in_per_group, *kernel)]
    if not stem:
        nodes.append(helper.make_node("Conv", ["x", "first_w"], ["y"], name="first"))
        constants.append(weights("first_w", channels, channels, 1, 1))
    nodes.append(helper.make_node("Conv", ["x" if stem else "y", "w"], ["scores"], name="conv", group=groups))
    return graph(nodes, constants, ["batch", channels, 16, 16])


def chosen(model: onnx.ModelProto, kind: int) -> set[str]:
    return {node.name for node in targets(Graph(model), kind)}


@pytest.mark.parametrize(
    ("out", "in_per_group", "kernel", "groups", "int8", "fp8"),
    [
        (64, 64, (3, 3), 1, True, True),
        (16, 64, (3, 3), 1, True, False),
        (64, 16, (1, 1), 1, True, False),
        (17, 17, (3, 3), 1, True, True),
        (64, 64, (7, 7), 1, True, False),
        (8, 64, (3, 3), 1, True, False),
        (8, 64, (1, 3), 1, False, False),
        (8, 8, (3, 3), 1, False, False),
        (9, 65, (3, 3), 1, False, False),
        (64, 1, (3, 3), 64, True, False),
        (64, 1, (1, 1), 64, False, False),
        (60, 1, (3, 3), 60, False, False),
        (64, 32, (3, 3), 2, True, False),
    ],
)
def test_a_convolution_is_quantised_where_there_are_kernels_for_it(out, in_per_group, kernel, groups, int8, fp8):
    model = convolution(out, in_per_group, kernel, groups)
    assert ("conv" in chosen(model, INT8)) is int8
    assert ("conv" in chosen(model, FP8)) is fp8


@pytest.mark.parametrize(("out", "int8"), [(8, True), (64, True), (9, False)])
def test_the_first_convolution_may_have_three_channels_in_int8(out, int8):
    model = convolution(out, 3, (3, 3), 1, stem=True)
    assert ("conv" in chosen(model, INT8)) is int8
    assert not chosen(model, FP8)


@pytest.mark.parametrize(
    ("operator", "shape", "factor", "quantised"),
    [
        ("MatMul", ["batch", 49, 64], (64, 64), True),
        ("MatMul", ["batch", 1, 64], (64, 64), False),
        ("MatMul", ["batch", "tokens", 64], (64, 64), True),
        ("MatMul", ["batch", 49, 64], (64, 1), False),
        ("MatMul", ["batch", 49, 8], (8, 64), False),
        ("MatMul", ["batch", 64], (64, 64), False),
        ("Gemm", ["batch", 64], (64, 64), False),
    ],
)
def test_a_product_is_quantised_where_both_sides_are_matrices(operator, shape, factor, quantised):
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node(operator, ["y", "w"], ["scores"], name="product")]
    model = graph(nodes, [weights("w", *factor)], shape)
    assert [node.name for node in weighted(Graph(model))] == ["product"]
    assert chosen(model, INT8) == chosen(model, FP8) == ({"product"} if quantised else set())


def test_the_rows_of_flattened_tokens_are_counted():
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["y"]),
        helper.make_node("Gemm", ["y", "w"], ["scores"], name="product"),
    ]
    constants = [weights("w", 64, 64), numpy_helper.from_array(np.array([-1, 64], np.int64), "flat")]
    assert chosen(graph(nodes, constants, ["batch", 49, 64]), INT8) == {"product"}


def test_a_graph_with_nothing_to_quantise_is_refused(tmp_path):
    onnx.save(convolution(9, 3, (3, 3), 1, stem=True), tmp_path / "net.onnx")
    with pytest.raises(UnfitGraphError, match="none of the graph's 1 matrix operations has a fast int8 kernel"):
        lower(tmp_path / "net.onnx", tmp_path / "out.onnx", "int8", "tensorrt", np.ones((8, 3, 16, 16), np.float32))
