"""The one ONNX Runtime session maker: from a file, from bytes and from a model; saved; silent; in batches."""

import numpy as np
import onnx
import pytest
from onnx import helper

from services.onnx_graphs.inspect import control_flow, opset_of, shape_of
from services.onnx_graphs.session import Optimise, graph_runner, reason, session
from services.onnx_graphs.simplify import simplified

ROWS = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("kind", ["model", "bytes", "file"])
def test_a_session_is_made_of_a_model_bytes_and_a_file(make_classifier, tmp_path, kind):
    model = make_classifier()
    onnx.save(model, tmp_path / "tiny.onnx")
    given = {"model": model, "bytes": model.SerializeToString(), "file": tmp_path / "tiny.onnx"}[kind]
    assert session(given, threads=1).run(None, {"x": ROWS})[0].shape == (5, 4)


def test_rows_go_through_in_batches_and_keep_their_order(make_classifier):
    whole = session(make_classifier()).run(None, {"x": ROWS})[0]
    np.testing.assert_allclose(graph_runner(make_classifier(), 2)(ROWS), whole, rtol=1e-5)
    np.testing.assert_allclose(graph_runner(session(make_classifier(5)), 5)(ROWS), whole, rtol=1e-5)


def test_the_rewritten_graph_is_saved(make_classifier, tmp_path):
    model = make_classifier(softmax=True)
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["same"]))
    model.graph.node[1].input[0] = "same"
    for level, nodes in ((Optimise.NONE, 5), (Optimise.BASIC, 4)):
        session(model, optimise=level, save_to=tmp_path / "out.onnx")
        assert len(onnx.load(tmp_path / "out.onnx").graph.node) == nodes


def test_onnx_runtime_prints_neither_warnings_nor_errors(make_classifier, capfd):
    model = make_classifier(2, flatten=[2, 3])
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    session(model).run(None, {"x": ROWS[:2]})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(Exception, match="Reshape"):
        session(model).run(None, {"x": ROWS[:3]})
    assert capfd.readouterr() == ("", "")


def test_an_error_in_a_line(make_classifier):
    model = make_classifier()
    model.graph.node[0].op_type = "NoSuchThing"
    with pytest.raises(Exception, match="NoSuchThing") as caught:
        session(model)
    assert "NoSuchThing" in reason(caught.value)
    assert "\n" not in reason(caught.value)
    assert reason(RuntimeError()) == "RuntimeError"


def test_what_a_model_says_of_itself(make_classifier):
    model = make_classifier()
    assert opset_of(model) == 17
    assert shape_of(model.graph.input[0]) == ["batch", 3, 8, 8]
    assert control_flow(model) == []
    branch = helper.make_graph([helper.make_node("Identity", ["y"], ["z"])], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["w"], then_branch=branch, else_branch=branch))
    assert [node.op_type for node in control_flow(model)] == ["If"]


def test_simplified_folds_constants_and_keeps_the_answers(make_classifier):
    model = make_classifier(1)
    model.graph.node.insert(0, helper.make_node("Shape", ["x"], ["sizes"]))
    model.graph.node.insert(1, helper.make_node("Reshape", ["x", "sizes"], ["same"]))
    model.graph.node[2].input[0] = "same"
    model.opset_import.append(helper.make_opsetid("com.shop", 1))
    simple = simplified(model)
    assert "Shape" not in [node.op_type for node in simple.graph.node]
    assert [entry.domain for entry in simple.opset_import] == [""]
    np.testing.assert_allclose(graph_runner(simple, 1)(ROWS), graph_runner(model, 1)(ROWS), rtol=1e-5)
