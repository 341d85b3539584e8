"""Lowering a graph of a few nodes: what changes type, what does not, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.builder.precision import UnfitGraphError, lower, obstacle

SIDE = 8


def network(path, *, gain=1.0):
    """UINT8 pixels, normalised; a stem; two convolutions and their residual Add; pooled to 5 probabilities."""
    random = np.random.default_rng(0)

    def weight(name, *shape, scale=0.3):
        return numpy_helper.from_array((random.normal(size=shape) * scale).astype(np.float32), name)

    def conv(source, weights, out):
        return helper.make_node("Conv", [source, weights], [out], name=out, pads=[1, 1, 1, 1])

    nodes = [
        helper.make_node("Cast", ["images"], ["fp32"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["fp32", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        conv("nchw", "stem_w", "stem"),
        helper.make_node("Relu", ["stem"], ["stem_relu"]),
        conv("stem_relu", "a_w", "a"),
        helper.make_node("Relu", ["a"], ["a_relu"]),
        conv("a_relu", "b_w", "b"),
        helper.make_node("Add", ["b", "stem_relu"], ["sum"], name="residual"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc_w", "fc_b"], ["logits"], transB=1, name="fc"),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    initializers = [
        numpy_helper.from_array(np.array(127, np.float32), "mean"),
        numpy_helper.from_array(np.array(1 / 64, np.float32), "scale"),
        weight("stem_w", 32, 3, 3, 3, scale=0.3 * gain),
        weight("a_w", 32, 32, 3, 3, scale=0.1),
        weight("b_w", 32, 32, 3, 3, scale=0.1),
        weight("fc_w", 5, 32, scale=1.0 / gain),
        weight("fc_b", 5),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 5])
    graph = helper.make_graph(nodes, "net", [images], [scores], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)


def run(path, pixels, *, optimise=True):
    options = onnxruntime.SessionOptions()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options).run(None, {"images": pixels})[0]


def lowered(tmp_path, pixels, precision, accelerator="tensorrt", **shape):
    source, out = network(tmp_path / "fp32.onnx", **shape), tmp_path / "out.onnx"
    notes = lower(source, out, precision, accelerator, pixels).notes
    return source, out, onnx.load(str(out)), notes


def weights_type(model, node):
    """Element type of a node's weights, behind the DequantizeLinear where there is one."""
    tensors = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {item.output[0]: item for item in model.graph.node}
    name = next(item for item in model.graph.node if item.name == node).input[1]
    return tensors.get(name) or tensors[makers[name].input[0]]


@pytest.mark.parametrize(
    ("precision", "accelerator"),
    [("fp32", "tensorrt"), ("fp16", "tensorrt"), ("bf16", "tensorrt"), ("int8", "tensorrt"), ("fp8", "tensorrt"), ("int8", "onnxruntime")],
)
def test_inputs_and_outputs_stay_and_the_graph_is_valid(precision, accelerator, tmp_path, pixels):
    source, _, model, _ = lowered(tmp_path, pixels, precision, accelerator)
    original = onnx.load(str(source)).graph
    assert list(model.graph.input) == list(original.input)
    assert list(model.graph.output) == list(original.output)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("precision", "accelerator", "tolerance"),
    [("fp16", "tensorrt", 0.005), ("int8", "tensorrt", 0.1), ("fp8", "tensorrt", 0.15), ("int8", "onnxruntime", 0.1)],
)
def test_scores_stay_near(precision, accelerator, tolerance, tmp_path, pixels):
    source, out, _, _ = lowered(tmp_path, pixels, precision, accelerator)
    error = np.abs(run(out, pixels, optimise=accelerator == "onnxruntime") - run(source, pixels)).max()
    assert 0 < error < tolerance


def test_fp32_is_a_copy(tmp_path, pixels):
    source, out, _, notes = lowered(tmp_path, pixels, "fp32")
    assert out.read_bytes() == source.read_bytes()
    assert notes == ()


@pytest.mark.parametrize(("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_half_is_half_between_the_matrix_operations_and_fp32_outside(precision, kind, tmp_path, pixels):
    _, _, model, _ = lowered(tmp_path, pixels, precision)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert all(weights_type(model, node) == kind for node in ("stem", "a", "b", "fc"))
    assert types["mean"] == types["scale"] == TensorProto.FLOAT
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 3  # pixels to FP32, into half before the stem, out of it before the softmax


def test_tensorrt_int8_quantises_weights_and_one_branch_of_the_residual(tmp_path, pixels):
    _, _, model, _ = lowered(tmp_path, pixels, "int8")
    makers = {name: node for node in model.graph.node for name in node.output}
    residual = next(node for node in model.graph.node if node.name == "residual")
    assert sorted(makers[name].op_type for name in residual.input) == ["Conv", "DequantizeLinear"]
    kinds = [weights_type(model, node) for node in ("stem", "a", "b", "fc")]
    assert kinds == [*[TensorProto.INT8] * 3, TensorProto.FLOAT16], "the last product has one row per picture"
    zeros = [tensor for tensor in model.graph.initializer if tensor.name.endswith("_zero_point")]
    assert zeros
    assert all(not numpy_helper.to_array(tensor).any() for tensor in zeros), "TensorRT takes symmetric scales only"
    assert not [tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT32], "no quantised bias"


def test_fp8_leaves_the_stem_in_half(tmp_path, pixels):
    _, _, model, notes = lowered(tmp_path, pixels, "fp8")
    kinds = [weights_type(model, node) for node in ("stem", "a", "b", "fc")]
    assert kinds == [TensorProto.FLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16]
    assert notes[0].startswith("2 of 4 matrix operations fp8")


def test_onnxruntime_int8_has_unsigned_activations(tmp_path, pixels):
    _, _, model, _ = lowered(tmp_path, pixels, "int8", "onnxruntime")
    kinds = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("_zero_point")}
    assert {TensorProto.UINT8, TensorProto.INT8} <= kinds


def test_what_fp16_cannot_hold_stays_fp32(tmp_path, pixels):
    source, out, model, notes = lowered(tmp_path, pixels, "fp16", gain=1e5)
    assert any("stay FP32" in note for note in notes)
    assert weights_type(model, "stem") == TensorProto.FLOAT
    assert np.abs(run(out, pixels, optimise=False) - run(source, pixels)).max() < 0.01


@pytest.mark.parametrize(
    ("precision", "accelerator", "capability", "reason"),
    [
        ("fp8", "tensorrt", (8, 6), "8.9"),
        ("bf16", "tensorrt", (7, 5), "8.0"),
        ("fp8", "tensorrt", (8, 9), ""),
        ("int8", "tensorrt", None, ""),
        ("fp16", "onnxruntime", None, "ONNX Runtime"),
        ("int8", "onnxruntime", None, ""),
        ("fp4", "tensorrt", None, "none of"),
    ],
)
def test_the_obstacle_says_why_not(precision, accelerator, capability, reason):
    found = obstacle(precision, accelerator, capability)
    assert bool(found) == bool(reason)
    assert reason in found


def test_control_flow_is_refused(tmp_path, pixels):
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["taken"])],
        "branch",
        [],
        [helper.make_tensor_value_info("taken", TensorProto.UINT8, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["wide"], ["total"], keepdims=0),
            helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Greater", ["total", "zero"], ["positive"]),
            helper.make_node("If", ["positive"], ["scores"], then_branch=branch, else_branch=branch),
        ],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.array(0, np.float32), "zero"), condition],
    )
    graph.node.insert(0, graph.node.pop(1))
    path = tmp_path / "flow.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    with pytest.raises(UnfitGraphError, match="control flow"):
        lower(path, tmp_path / "out.onnx", "fp16", "tensorrt", pixels)
