"""Every edit of a graph computes what numpy computes, and keeps names and types of what is outside."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from services.exporter.graph import (
    last_operator,
    with_names,
    with_pixel_input,
    with_softmax,
    with_two_columns,
    without_last_operator,
)

FLOATS = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
PIXELS = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def outside(model) -> tuple[str, str]:
    return model.graph.input[0].name, model.graph.output[0].name


def test_renaming_changes_names_and_no_answer(make_classifier, run_graph):
    before = run_graph(make_classifier(), FLOATS)
    model = with_names(make_classifier())
    assert outside(model) == ("input", "scores")
    np.testing.assert_array_equal(run_graph(model, FLOATS), before)


def test_input_and_output_whose_names_are_ours_the_other_way_round(make_classifier, run_graph):
    before = run_graph(make_classifier(), FLOATS)
    model = with_names(make_classifier(names=("scores", "input")))
    assert outside(model) == ("input", "scores")
    np.testing.assert_array_equal(run_graph(model, FLOATS), before)


@pytest.mark.parametrize("taken", ["input", "scores", "logits", "probabilities"])
def test_a_tensor_inside_that_has_a_name_of_ours_gives_way(make_classifier, run_graph, taken):
    expected = run_graph(make_classifier(softmax=True), FLOATS)
    np.testing.assert_array_equal(run_graph(with_names(make_classifier(softmax=True, logits=taken)), FLOATS), expected)
    logits = without_last_operator(with_names(make_classifier(softmax=True, logits=taken)))
    np.testing.assert_allclose(softmax(run_graph(logits, FLOATS)), expected, rtol=1e-5)


def test_pixels_are_normalised_as_the_numbers_say(make_classifier, run_graph):
    floats = ((PIXELS / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    expected = run_graph(make_classifier(), floats)
    model = with_pixel_input(with_names(make_classifier()), MEAN, STD)
    (given,) = model.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, given.type.tensor_type.elem_type, dims) == ("images", TensorProto.UINT8, ["batch", 8, 8, 3])
    np.testing.assert_allclose(run_graph(model, PIXELS), expected, rtol=1e-4, atol=1e-4)


def test_softmax_is_added(make_classifier, run_graph):
    logits = run_graph(make_classifier(), FLOATS)
    model = with_softmax(with_names(make_classifier()))
    assert outside(model) == ("input", "scores")
    np.testing.assert_allclose(run_graph(model, FLOATS), softmax(logits), rtol=1e-5)


def test_softmax_is_taken_away(make_classifier, run_graph):
    logits = run_graph(make_classifier(), FLOATS)
    model = without_last_operator(with_names(make_classifier(softmax=True)))
    assert outside(model) == ("input", "scores")
    assert last_operator(model) == "Gemm"
    np.testing.assert_array_equal(run_graph(model, FLOATS), logits)


def test_the_last_operator_is_seen_through_what_only_passes_on(make_classifier, run_graph):
    model = make_classifier(softmax=True, names=("x", "inner"))
    model.graph.node.append(helper.make_node("Identity", ["inner"], ["y"]))
    model.graph.output[0].name = "y"
    assert last_operator(model) == "Softmax"
    np.testing.assert_array_equal(run_graph(without_last_operator(with_names(model)), FLOATS), run_graph(make_classifier(), FLOATS))


def test_one_score_becomes_two_columns(make_classifier, run_graph):
    single = run_graph(make_classifier(classes=1), FLOATS)
    found = run_graph(with_two_columns(with_names(make_classifier(classes=1)), (-1.0, 1.0), (1.0, 0.0)), FLOATS)
    np.testing.assert_allclose(found, np.hstack([1 - single, single]), rtol=1e-5)
