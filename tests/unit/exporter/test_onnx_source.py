"""Somebody else's ONNX file is exported as it computes, or refused with what was found in it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from services.core.card import ModelCard
from services.core.errors import AccuracyError, SourceError
from services.exporter import onnx_models
from services.exporter.export import export
from services.exporter.onnx_models import load_onnx
from services.exporter.sources import OnnxSource, parse_source

FLOATS = np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def load(settings):
    def load(model=None, **environment):
        made = settings(model, **{"SCORES": "logits"} | environment)
        source = parse_source(made.model)
        assert isinstance(source, OnnxSource)
        return load_onnx(source, made)

    return load


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("flatten", ["Flatten", "Reshape to the batch", [0, -1], [-1, 3]])
def test_a_fixed_batch_becomes_dynamic_with_the_same_answers(load, make_classifier, run_graph, batch, flatten):
    shape = [batch, 3] if flatten == "Reshape to the batch" else flatten
    loaded = load(make_classifier(batch, flatten=shape))
    expected = run_graph(make_classifier(), FLOATS)
    np.testing.assert_allclose(run_graph(loaded.graph, FLOATS), expected, rtol=1e-5)
    np.testing.assert_allclose(loaded.original(FLOATS), expected, rtol=1e-5)


def test_rows_that_influence_one_another_cannot_be_batched(load, make_classifier):
    with pytest.raises(SourceError, match=r"fixed batch of 4.*rows of a batch influence each other") as caught:
        load(make_classifier(4, batch_mean=True))
    assert "dynamic_axes" in caught.value.hint


def test_rows_that_influence_one_another_are_found_with_a_dynamic_batch_too(settings, make_classifier):
    made = settings(make_classifier(batch_mean=True))
    with pytest.raises(AccuracyError, match=r"disagree in a batch of 4: .*largest error"):
        export(made, parse_source(made.model), "f")
    assert not (made.artifacts / "card.json").exists()


def test_a_reshape_that_folds_the_batch_into_the_classes_is_refused(load, make_classifier):
    folded = make_classifier(2, flatten=[1, 6])
    weights = next(value for value in folded.graph.initializer if value.name == "weights")
    weights.CopyFrom(onnx.numpy_helper.from_array(np.ones((6, 4), np.float32), "weights"))
    folded.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(SourceError, match="cannot be made dynamic"):
        load(folded)


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\0" * 100])
def test_a_file_that_is_no_graph_is_refused_with_its_length(load, tmp_path, content):
    (tmp_path / "tiny.onnx").write_bytes(content)
    with pytest.raises(SourceError, match=rf"tiny\.onnx is no valid ONNX file \({len(content)} bytes\): \S"):
        load()


def test_a_truncated_file_is_refused(load, tmp_path, make_classifier):
    content = make_classifier().SerializeToString()
    (tmp_path / "tiny.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="is no valid ONNX file"):
        load()


def test_a_missing_file_says_where_to_put_it(load):
    with pytest.raises(SourceError, match="there is no such file") as caught:
        load()
    assert "models/" in caught.value.hint


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"height": 8, "width": 6}, "the input is 8x6"),
        ({"height": 16385, "width": 16385}, "the input is 16385x16385"),
        ({"channels": 1}, r"input FLOAT \['batch', 1, 8, 8\]"),
    ],
)
def test_an_input_that_is_no_square_rgb_picture_is_refused(load, make_classifier, shape, message):
    with pytest.raises(SourceError, match=message):
        load(make_classifier(**shape))


@pytest.mark.parametrize("what", ["input", "output"])
def test_more_than_one_input_or_output_is_refused(load, make_classifier, what):
    model = make_classifier()
    if what == "input":
        model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    else:
        model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3]))
    with pytest.raises(SourceError, match="2 inputs and 1 outputs" if what == "input" else "1 inputs and 2 outputs"):
        load(model)


def test_an_operator_that_onnx_runtime_does_not_have_is_the_files_fault(load, make_classifier):
    model = make_classifier()
    model.graph.node[0].op_type, model.graph.node[0].domain = "ShopPool", "com.shop"
    model.opset_import.append(helper.make_opsetid("com.shop", 1))
    with pytest.raises(SourceError, match=r"ONNX Runtime cannot run it: .*ShopPool"):
        load(model)


def test_another_crop_than_the_input_is_refused(load, make_classifier):
    with pytest.raises(SourceError, match="the input is 8x8, but CROP=16"):
        load(make_classifier(), CROP=16)


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("scores", ["probabilities", "logits"])
@pytest.mark.parametrize("has_softmax", [True, False])
def test_an_export_is_whole_and_its_card_says_what_it_is(settings, make_classifier, run_graph, pixels, scores, has_softmax):
    made = settings(make_classifier(1, softmax=has_softmax), INPUT="uint8" if pixels else "float32", SCORES=scores)
    card = export(made, parse_source(made.model), "f")
    folder = made.artifacts
    assert {path.name for path in folder.iterdir()} - {".lock"} == {"model.onnx", "golden.npz", "labels.txt", "card.json"}
    assert ModelCard.load(folder / "card.json") == card
    assert (card.input.name, card.input.shape) == (("images", (-1, 8, 8, 3)) if pixels else ("input", (-1, 3, 8, 8)))
    assert (card.scores, card.labels, card.onnx.opset, card.golden.count) == (scores, 4, 17, 4)
    assert (folder / "labels.txt").read_text() == "class 0\nclass 1\nclass 2\nclass 3\n"
    with np.load(folder / "golden.npz") as golden:
        found = run_graph(onnx.load(folder / "model.onnx"), golden["inputs"])
        np.testing.assert_allclose(found, golden["scores"], rtol=1e-3, atol=1e-4)
    assert (scores == "probabilities") == bool(np.allclose(found.sum(axis=1), 1, atol=1e-4))


def test_the_golden_set_is_the_same_every_time(settings, make_classifier):
    made = settings(make_classifier())
    contents = []
    for _ in range(2):
        export(made, parse_source(made.model), "f")
        contents.append((made.artifacts / "golden.npz").read_bytes())
    assert contents[0] == contents[1]


def test_without_a_photograph_the_golden_set_is_noise_and_says_so(settings, make_classifier, tmp_path):
    (tmp_path / "none").mkdir()
    made = settings(make_classifier(), GOLDEN_DIR=tmp_path / "none")
    assert "seeded noise" in export(made, parse_source(made.model), "f").golden.made_from


def test_a_golden_folder_that_is_not_there_is_named(settings, make_classifier, tmp_path):
    made = settings(make_classifier(), GOLDEN_DIR=tmp_path / "mistyped")
    with pytest.raises(SourceError, match="mistyped: there is no such folder"):
        export(made, parse_source(made.model), "f")


def test_too_few_labels_are_counted(settings, make_classifier, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    made = settings(make_classifier(), LABELS=tmp_path / "labels.txt")
    with pytest.raises(SourceError, match=r"labels\.txt has 2 names, the model gives 4 scores"):
        export(made, parse_source(made.model), "f")


def test_constants_among_the_inputs_are_no_inputs(settings, make_classifier, run_graph):
    """ONNX below IR 4 wants them there; PyTorch wrote such files until 2019."""
    model = make_classifier(1)
    expected = run_graph(make_classifier(), FLOATS)
    constants = [helper.make_tensor_value_info(value.name, value.data_type, value.dims) for value in model.graph.initializer]
    inputs = [*constants, *model.graph.input]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = 3
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 9))
    made = settings(model, SCORES="logits")
    card = export(made, parse_source(made.model), "f")
    assert (card.input.shape, card.output.shape) == ((-1, 8, 8, 3), (-1, 4))
    floats = settings(SCORES="logits", INPUT="float32")
    export(floats, parse_source(floats.model), "f")
    np.testing.assert_allclose(run_graph(onnx.load(floats.artifacts / "model.onnx"), FLOATS), expected, rtol=1e-5)


def test_a_loop_without_end_ends(load, make_classifier, monkeypatch):
    monkeypatch.setattr(onnx_models, "RUN_SECONDS", 0.3)
    model = make_classifier()
    went_on = helper.make_tensor_value_info("went_on", TensorProto.BOOL, [])
    goes_on = helper.make_tensor_value_info("goes_on", TensorProto.BOOL, [])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("before", "after")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["went_on"], ["goes_on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [helper.make_tensor_value_info("step", TensorProto.INT64, []), went_on, values[0]],
        [goes_on, values[1]],
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2**62, np.int64), "steps"))
    model.graph.node.append(helper.make_node("Loop", ["steps", "", model.graph.output[0].name], ["looped"], body=body))
    model.graph.output[0].name = "looped"
    with pytest.raises(SourceError, match=r"tiny\.onnx: the graph was not done with a batch after 0\.3 s") as caught:
        load(model)
    assert "Loop" in caught.value.hint
