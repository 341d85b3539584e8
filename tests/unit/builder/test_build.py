"""An export is built and published for real, by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from services.builder import candidate, precision
from services.builder.build import Plan, build, plan
from services.builder.compilers import onnxruntime
from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler
from services.builder.precision import Lowered, UnfitGraphError
from services.builder.repository import ModelFolder
from services.core.errors import ContractError
from services.core.files import sha256_of
from services.core.settings import BuilderSettings

INPUTS = np.random.default_rng(3).standard_normal((8, 3, 8, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def _measure_quickly(monkeypatch):
    monkeypatch.setattr(onnxruntime, "_ROUND_MS", 2)


@pytest.fixture
def graph(make_classifier, tmp_path) -> Path:
    onnx.save(make_classifier(names=("input", "scores")), tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def numpy_scores(graph: Path) -> np.ndarray:
    weights, bias = (onnx.numpy_helper.to_array(value) for value in onnx.load(graph).graph.initializer)
    return INPUTS.mean(axis=(2, 3)) @ weights + bias


@pytest.fixture
def settings(graph, make_card, tmp_path) -> BuilderSettings:
    """An export of the small graph, and settings that build it."""
    artifacts = tmp_path / "artifacts" / "tiny"
    artifacts.mkdir(parents=True)
    np.savez(artifacts / "golden.npz", inputs=INPUTS, scores=numpy_scores(graph))
    (artifacts / "model.onnx").write_bytes(graph.read_bytes())
    (artifacts / "labels.txt").write_text("a\nb\nc\nd\n")
    card = make_card(pixels=False, scores="logits")
    card.model_copy(
        update={
            "onnx": card.onnx.model_copy(update={"sha256": sha256_of(artifacts / "model.onnx")}),
            "labels_sha256": sha256_of(artifacts / "labels.txt"),
            "golden": card.golden.model_copy(update={"sha256": sha256_of(artifacts / "golden.npz")}),
        }
    ).dump(artifacts / "card.json")
    return BuilderSettings.from_env(
        {
            "MODEL": "tiny",
            "ACCELERATOR": "onnxruntime",
            "ARTIFACTS_DIR": str(tmp_path / "artifacts"),
            "MODEL_REPOSITORY_DIR": str(tmp_path / "repository"),
        }
    )


def test_an_export_is_built_once_and_then_up_to_date(settings):
    assert build(settings, OnnxRuntimeCompiler(), None, force=False) == 1
    version = settings.model_repository_dir / "tiny" / "1"
    whole = {"model.onnx", "model.py", "build.json", "card.json", "config.pbtxt", "labels.txt", "golden.npz"}
    assert whole <= {path.name for path in version.iterdir()}
    record = ModelFolder(settings.model_repository_dir, "tiny").record(1)
    assert record.engine_sha256 == sha256_of(version / "model.onnx")
    assert record.accuracy.top1_agreement == 1
    assert record.speed is not None
    assert record.speed.images_per_second > 0
    before = {path: path.stat().st_mtime_ns for path in settings.model_repository_dir.rglob("*") if path.name != ".lock" and path.is_file()}
    assert build(settings, OnnxRuntimeCompiler(), None, force=False) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_plan_is_what_a_build_then_does(settings):
    compiler, folder = OnnxRuntimeCompiler(), settings.model_repository_dir / "tiny"
    assert plan(settings, compiler) == Plan(None, "none", up_to_date=False)
    assert not folder.exists()
    build(settings, compiler, None, force=False)
    assert plan(settings, compiler) == Plan(1, "live", up_to_date=True)
    served_otherwise = settings.model_copy(update={"max_queue_delay_us": 500})
    assert plan(served_otherwise, compiler) == Plan(1, "live", up_to_date=False)
    other_engine = settings.model_copy(update={"max_batch": 16})
    assert plan(other_engine, compiler) == Plan(1, "none", up_to_date=False)
    build(other_engine, compiler, None, force=False)
    assert plan(served_otherwise, compiler) == Plan(2, "other", up_to_date=False)
    (folder / "2" / "model.onnx").write_bytes(b"damaged")
    assert plan(other_engine, compiler) == Plan(2, "none", up_to_date=False)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_an_export_that_is_not_what_its_card_says_is_refused(settings, name):
    with (settings.artifacts / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ContractError, match=rf"{name} has sha256 .*, the card says"):
        build(settings, OnnxRuntimeCompiler(), None, force=False)
    assert not settings.model_repository_dir.exists()


def test_auto_goes_on_where_a_graph_is_unfit_for_a_precision(settings, monkeypatch):
    really = precision.lower

    def lower(graph: Path, out: Path, asked: str, *rest: Any) -> Lowered:
        if asked == "int8":
            raise UnfitGraphError("nothing here can be int8", hint="take another")
        return really(graph, out, asked, *rest)

    monkeypatch.setattr(candidate, "lower", lower)
    assert build(settings.model_copy(update={"precision": "auto"}), OnnxRuntimeCompiler(), None, force=False) == 1
    assert ModelFolder(settings.model_repository_dir, "tiny").record(1).precision == "fp32"
