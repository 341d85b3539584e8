"""A fixed batch is freed wherever an exporter writes it: Reshape, Expand, merged dimensions, repeated constants, strided views."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.exporter.batch import ConflictError, freed
from services.exporter.graph import with_dynamic_ends
from services.exporter.onnx_models import load_onnx
from services.exporter.sources import OnnxSource
from services.onnx_graphs.session import graph_runner

ROWS = np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def graph(batch: int, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph from ``x`` ``[batch,3,8,8]`` to ``y`` ``[batch,4]``, of the opset that torch.onnx.export writes today."""
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def weights(rows: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((rows, 4)).astype(np.float32)


def sizes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def flattened(batch: int) -> onnx.ModelProto:
    """As torchvision's networks end: mean, Reshape with allowzero, Gemm."""
    nodes = [
        node("ReduceMean", ["x", "axes"], "mean", keepdims=1),
        node("Reshape", ["mean", "shape"], "flat", allowzero=1),
        node("Gemm", ["flat", "w"], "y"),
    ]
    return graph(batch, nodes, {"axes": sizes(-1, -2), "shape": sizes(batch, 3), "w": weights(3)})


def attention(batch: int) -> onnx.ModelProto:
    """As a ViT: a class token that was repeated, sequence first, batch and heads in one dimension."""
    nodes = [
        node("Reshape", ["x", "patches"], "cells", allowzero=1),
        node("Transpose", ["cells"], "words", perm=[0, 2, 1]),
        node("MatMul", ["words", "embed"], "embedded"),
        node("Concat", ["token", "embedded"], "all", axis=1),
        node("Add", ["all", "positions"], "placed"),
        node("Transpose", ["placed"], "sequence", perm=[1, 0, 2]),
        node("Reshape", ["sequence", "heads"], "split", allowzero=1),
        node("Transpose", ["split"], "queries", perm=[1, 0, 2]),
        node("Transpose", ["queries"], "keys", perm=[0, 2, 1]),
        node("MatMul", ["queries", "keys"], "products"),
        node("Softmax", ["products"], "shares", axis=-1),
        node("MatMul", ["shares", "queries"], "mixed"),
        node("Transpose", ["mixed"], "back", perm=[1, 0, 2]),
        node("Reshape", ["back", "rows"], "joined", allowzero=1),
        node("Gemm", ["joined", "project"], "projected"),
        node("Reshape", ["projected", "unjoined"], "apart", allowzero=1),
        node("Transpose", ["apart"], "first", perm=[1, 0, 2]),
        node("Gather", ["first", "zero"], "class", axis=1),
        node("Gemm", ["class", "w"], "y"),
    ]
    random = np.random.default_rng(3)
    constants = {
        "patches": sizes(batch, 3, 64),
        "embed": random.standard_normal((3, 6)).astype(np.float32),
        "token": np.repeat(random.standard_normal((1, 1, 6)).astype(np.float32), batch, 0),
        "positions": np.repeat(random.standard_normal((1, 65, 6)).astype(np.float32), batch, 0),
        "heads": sizes(65, batch * 2, 3),
        "rows": sizes(65 * batch, 6),
        "project": random.standard_normal((6, 6)).astype(np.float32),
        "unjoined": sizes(65, batch, 6),
        "zero": np.array(0, np.int64),
        "w": weights(6),
    }
    return graph(batch, nodes, constants)


def windows(batch: int) -> onnx.ModelProto:
    """As Swin: windows are cut out, and counted with the batch."""
    nodes = [
        node("Reshape", ["x", "cut"], "grid", allowzero=1),
        node("Transpose", ["grid"], "ordered", perm=[0, 2, 4, 3, 5, 1]),
        node("Reshape", ["ordered", "merged"], "windows", allowzero=1),
        node("Softmax", ["windows"], "shares", axis=1),
        node("Reshape", ["shares", "uncut"], "again", allowzero=1),
        node("ReduceMax", ["again", "axes"], "largest", keepdims=0),
        node("Gemm", ["largest", "w"], "y"),
    ]
    constants = {
        "cut": sizes(batch, 3, 2, 4, 2, 4),
        "merged": sizes(batch * 4, 16, 3),
        "uncut": sizes(batch, 4, 16, 3),
        "axes": sizes(1, 2),
        "w": weights(3),
    }
    return graph(batch, nodes, constants)


def strided(batch: int) -> onnx.ModelProto:
    """As ConvNeXt: a strided view is the whole tensor flattened, and picked from."""
    order = np.random.default_rng(5).permutation(192)
    nodes = [
        node("Reshape", ["x", "all"], "flat"),
        node("Gather", ["flat", "indices"], "view", axis=0),
        node("Reshape", ["view", "rows"], "picked", allowzero=1),
        node("Gemm", ["picked", "w"], "y"),
    ]
    indices = np.stack([order + 192 * row for row in range(batch)]).reshape(batch, 192, 1)
    return graph(batch, nodes, {"all": sizes(-1), "indices": indices, "rows": sizes(batch, 192), "w": weights(192)})


def expanded(batch: int) -> onnx.ModelProto:
    nodes = [
        node("ReduceMean", ["x", "axes"], "mean", keepdims=0),
        node("Reshape", ["mean", "column"], "columns", allowzero=1),
        node("Expand", ["columns", "wide"], "repeated"),
        node("ReduceSum", ["repeated", "last"], "sum", keepdims=0),
        node("Gemm", ["sum", "w"], "y"),
    ]
    constants = {"axes": sizes(2, 3), "column": sizes(batch, 3, 1), "wide": sizes(batch, 3, 5), "last": sizes(2), "w": weights(3)}
    return graph(batch, nodes, constants)


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("make", [flattened, attention, windows, strided, expanded])
def test_every_row_of_any_batch_keeps_its_own_answer(settings, tmp_path, make, batch):
    made = settings(make(batch), SCORES="logits")
    loaded = load_onnx(OnnxSource(tmp_path / "tiny.onnx"), made)
    alone = graph_runner(make(1), 1)(ROWS)
    assert np.abs(alone[0] - alone[1]).max() > 0.01, "rows that answer alike would prove nothing"
    for count in (1, 3, 5):
        np.testing.assert_allclose(graph_runner(loaded.graph, count)(ROWS[:count]), alone[:count], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loaded.original(ROWS), alone, rtol=1e-4, atol=1e-4)


def test_a_choice_that_turns_out_wrong_is_taken_back():
    """Heads are joined with the last dimension first, which Gemm does not take; then with the first one."""
    ways = [with_dynamic_ends(way) for way in freed(attention(1), 1)]
    first = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in ways[0].graph.initializer}
    assert first["joined/freed/shape"] == [-1, 6]
    assert first["split/freed/shape"] == [65, -1, 3]


def test_the_node_at_which_the_batch_is_lost_is_named():
    model = flattened(2)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(sizes(1, 6), "shape"))
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weights(6), "w"))
    model.graph.node[2].name = "head"
    with pytest.raises(ConflictError, match="head"):
        list(freed(model, 2))


def test_weights_in_a_side_file_are_read(settings, tmp_path):
    model = flattened(1)
    made = settings(model, SCORES="logits")
    onnx.save(model, tmp_path / "tiny.onnx", save_as_external_data=True, location="tiny.onnx.data", size_threshold=0)
    source = OnnxSource(tmp_path / "tiny.onnx")
    assert [path.name for path in source.files()] == ["tiny.onnx", "tiny.onnx.data"]
    before = load_onnx(source, made).weights_sha256
    content = bytearray((tmp_path / "tiny.onnx.data").read_bytes())
    content[-1] ^= 1
    (tmp_path / "tiny.onnx.data").write_bytes(content)
    assert load_onnx(source, made).weights_sha256 != before
