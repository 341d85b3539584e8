"""Scores become what SCORES asks for: never a softmax on top of a sigmoid, never one class that is always sure."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from services.core.errors import SourceError
from services.exporter.export import export
from services.exporter.sources import parse_source
from services.numerics.golden import load_golden


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def ending_in(model: onnx.ModelProto, *operators: str, **attributes: Any) -> onnx.ModelProto:
    """The model with operators after its output, which keeps its name."""
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "step0"
    for index, operator in enumerate(operators):
        last = index == len(operators) - 1
        made = helper.make_node(operator, [f"step{index}"], [output if last else f"step{index + 1}"], **(attributes if last else {}))
        model.graph.node.append(made)
    return model


@pytest.fixture
def exported(settings, run_graph):
    """Export a model; gives the scores of its golden set, by the graph, and the inputs ``[N,3,8,8]`` that they are for."""

    def exported(model: onnx.ModelProto, **environment: object) -> tuple[np.ndarray, np.ndarray]:
        made = settings(model, **{"INPUT": "float32"} | environment)
        export(made, parse_source(made.model), "f")
        golden = load_golden(made.artifacts / "golden.npz")
        found = run_graph(onnx.load(made.artifacts / "model.onnx"), golden.inputs)
        np.testing.assert_allclose(found, golden.scores, atol=1e-5)
        return found, golden.inputs

    return exported


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("ending", [("Sigmoid",), ("Sigmoid", "Identity"), ()])
def test_a_binary_model_gets_two_classes(exported, make_classifier, run_graph, ending, batch):
    model = make_classifier(batch, classes=1)
    found, inputs = exported(ending_in(model, *ending) if ending else model)
    positive = sigmoid(run_graph(make_classifier(classes=1), inputs))
    np.testing.assert_allclose(found, np.hstack([1 - positive, positive]), atol=1e-5)


@pytest.mark.parametrize("ending", [("Sigmoid",), ()])
def test_a_binary_model_gives_two_logits(exported, make_classifier, run_graph, ending):
    model = make_classifier(classes=1)
    found, inputs = exported(ending_in(model, *ending) if ending else model, SCORES="logits")
    np.testing.assert_allclose(softmax(found)[:, 1:], sigmoid(run_graph(make_classifier(classes=1), inputs)), atol=1e-5)


def test_the_two_classes_take_their_names_from_labels(settings, make_classifier, tmp_path):
    (tmp_path / "labels.txt").write_text("bad\ngood\n", encoding="utf-8-sig")
    made = settings(ending_in(make_classifier(classes=1), "Sigmoid"), LABELS=tmp_path / "labels.txt")
    assert export(made, parse_source(made.model), "f").output.shape == (-1, 2)
    assert (made.artifacts / "labels.txt").read_text() == "bad\ngood\n"


def test_probabilities_of_their_own_stay_what_they_are(exported, make_classifier, run_graph):
    found, inputs = exported(ending_in(make_classifier(), "Sigmoid"))
    np.testing.assert_allclose(found, sigmoid(run_graph(make_classifier(), inputs)), atol=1e-5)


@pytest.mark.parametrize("ending", ["Softmax", "Sigmoid"])
def test_logits_are_what_the_last_operator_reads(exported, make_classifier, run_graph, ending):
    """Seen through an Identity behind it, too."""
    found, inputs = exported(ending_in(make_classifier(), ending, "Identity"), SCORES="logits")
    np.testing.assert_allclose(found, run_graph(make_classifier(), inputs), atol=1e-5)


def test_scores_that_are_shares_already_get_no_second_softmax(exported, make_classifier, settings):
    """A softmax written out has another last operator, but its effect is the same."""
    model = ending_in(make_classifier(), "Exp")
    model.graph.node[-1].output[0] = "powers"
    model.graph.node.append(helper.make_node("ReduceL1", ["powers"], ["sum"], axes=[1], keepdims=1))
    model.graph.node.append(helper.make_node("Div", ["powers", "sum"], ["y"]))
    found, _ = exported(model)
    assert found.max() > 0.5
    refused = settings(model, SCORES="logits")
    with pytest.raises(SourceError, match=r"SCORES=logits, but .* gives probabilities"):
        export(refused, parse_source(refused.model), "f")


def test_a_softmax_over_one_class_is_refused(settings, make_classifier):
    made = settings(ending_in(make_classifier(classes=1), "Softmax", axis=1))
    with pytest.raises(SourceError, match="one score is always 1"):
        export(made, parse_source(made.model), "f")


@pytest.mark.parametrize("classes", [1, 4])
def test_scores_of_which_it_cannot_be_told_what_they_are_are_refused(settings, make_classifier, classes):
    """A sigmoid written out: a softmax on top would be wrong, and whether it is one cannot be seen."""
    made = settings(ending_in(make_classifier(classes=classes), "Neg", "Exp", "Softplus", "Neg", "Exp"))
    with pytest.raises(SourceError, match=r"lie in 0\.\.1 .* last operator is Exp") as caught:
        export(made, parse_source(made.model), "f")
    assert "Sigmoid" in caught.value.hint
