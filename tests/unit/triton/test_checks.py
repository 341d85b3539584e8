"""What keeps a published model from being served."""

import pytest

from services.core.errors import ContractError
from services.core.published import CARD, GOLDEN, LABELS, RECORD
from services.triton.checks import demand_published, demand_servable


def test_an_unpublished_model_is_named_with_those_that_are_there(publish, tmp_path):
    assert demand_published(publish().parent, "m") == tmp_path / "repository" / "m"
    (tmp_path / "repository" / "half_written").mkdir()
    with pytest.raises(ContractError, match=r"model resnet50 is not published .*found m$") as error:
        demand_published(tmp_path / "repository", "resnet50")
    assert "builder" in error.value.hint
    with pytest.raises(ContractError, match="found no model"):
        demand_published(tmp_path / "none", "resnet50")


def test_a_plan_of_another_tensorrt_is_refused_before_the_server_starts(publish):
    folder = publish(compiler=("tensorrt", "11.2.1.2"))
    for same in ({"TRT_VERSION": "11.2.1.2"}, {"TRT_VERSION": "11.2.1.2+cuda13.4"}, {"TRT_VERSION": "11.2.1.2-1+cuda13.4"}, {}):
        demand_servable(folder, same)
    with pytest.raises(ContractError, match=r"this server has TensorRT 11\.1\.0\.106, version 3 of m was built with 11\.2\.1\.2") as error:
        demand_servable(folder, {"TRT_VERSION": "11.1.0.106"})
    assert "NGC_RELEASE" in error.value.hint


def test_a_model_that_tensorrt_did_not_make_is_served_by_any_image(publish):
    demand_servable(publish(compiler=("onnxruntime", "1.32.0")), {"TRT_VERSION": "11.1.0.106"})


@pytest.mark.parametrize("name", ["model.onnx", CARD, GOLDEN, LABELS])
def test_a_file_that_changed_after_it_was_published_is_named(publish, name):
    folder = publish()
    file = folder / "3" / name
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ContractError, match=rf"{name} in .*/m/3 changed after the version was published") as error:
        demand_servable(folder, {})
    assert "rollback" in error.value.hint


@pytest.mark.parametrize("name", ["model.onnx", CARD, RECORD, LABELS])
def test_a_file_that_is_missing_is_named(publish, name):
    folder = publish()
    (folder / "3" / name).unlink()
    with pytest.raises(ContractError, match=name):
        demand_servable(folder, {})
