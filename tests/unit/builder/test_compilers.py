"""ONNX Runtime compiles and publishes for real; TensorRT's commands are built of what both of its versions know."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from services.builder.build import build
from services.builder.compilers import compiler_for
from services.builder.compilers.base import Profile
from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler
from services.builder.compilers.tensorrt import build_argv, plan_version_argv, profile_argv
from services.builder.repository import ModelFolder
from services.core.errors import ContractError, ToolError
from services.core.files import sha256_of
from services.core.settings import BuilderSettings

INPUTS = np.random.default_rng(3).standard_normal((8, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def graph(make_classifier, tmp_path) -> Path:
    onnx.save(make_classifier(names=("input", "scores")), tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.fixture
def engine(graph, tmp_path):
    (tmp_path / "version").mkdir()
    return OnnxRuntimeCompiler().compile(graph, tmp_path / "version", Profile(1, 2, 3))


def numpy_scores(graph: Path) -> np.ndarray:
    weights, bias = (onnx.numpy_helper.to_array(value) for value in onnx.load(graph).graph.initializer)
    return INPUTS.mean(axis=(2, 3)) @ weights + bias


def test_the_engine_stands_alone_and_computes_what_the_graph_does(graph, engine):
    expected = numpy_scores(graph)
    graph.unlink()
    compiler = OnnxRuntimeCompiler()
    np.testing.assert_allclose(compiler.run(engine, INPUTS), expected, rtol=1e-4, atol=1e-4)
    assert {path.name for path in engine.path.parent.iterdir()} == {"model.onnx", "model.py"}
    compile((engine.path.parent / "model.py").read_text(), "model.py", "exec")


def test_the_engine_describes_itself(engine, make_card):
    described = OnnxRuntimeCompiler().describe(engine)
    card = make_card(pixels=False)
    assert (described.inputs, described.outputs, described.max_batch) == (card.inputs, card.outputs, 3)


def test_a_graph_that_cannot_be_compiled_is_a_tool_error(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(ToolError, match="ONNX Runtime cannot compile"):
        OnnxRuntimeCompiler().compile(tmp_path / "graph.onnx", tmp_path, Profile(1, 1, 1))


def test_the_accelerator_chooses_the_compiler():
    assert isinstance(compiler_for(BuilderSettings(accelerator="onnxruntime")), OnnxRuntimeCompiler)
    assert type(compiler_for(BuilderSettings())).__name__ == "TensorRtCompiler"


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
    assert record.speed.images_per_second > 0
    before = {path: path.stat().st_mtime_ns for path in settings.model_repository_dir.rglob("*") if path.name != ".lock" and path.is_file()}
    assert build(settings, OnnxRuntimeCompiler(), None, force=False) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_an_export_that_is_not_what_its_card_says_is_refused(settings, name):
    with (settings.artifacts / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ContractError, match=rf"{name} has sha256 .*, the card says"):
        build(settings, OnnxRuntimeCompiler(), None, force=False)
    assert not settings.model_repository_dir.exists()


@pytest.mark.parametrize(("version", "typed"), [("10.16.0.72", True), ("11.2.1.2", False)])
def test_only_tensorrt_10_is_told_to_keep_the_graphs_types(version, typed):
    argv = build_argv("trtexec", Path("g.onnx"), Path("g.plan"), Path("t.cache"), "images", (8, 8, 3), Profile(1, 4, 16), 512, version)
    assert argv[:3] == ["trtexec", "--onnx=g.onnx", "--saveEngine=g.plan"]
    assert {"--minShapes=images:1x8x8x3", "--optShapes=images:4x8x8x3", "--maxShapes=images:16x8x8x3"} <= set(argv)
    assert {"--memPoolSize=workspace:512", "--timingCacheFile=t.cache", "--profilingVerbosity=detailed", "--skipInference"} <= set(argv)
    assert ("--stronglyTyped" in argv) is typed
    assert not {"--fp16", "--int8", "--best", "--explicitBatch"} & set(argv)


def test_the_plan_is_loaded_for_its_layers_and_for_its_version():
    plan = Path("g.plan")
    argv = profile_argv("trtexec", plan, "images:8x8x8x3", Path("times.json"), Path("layers.json"))
    assert {"--loadEngine=g.plan", "--shapes=images:8x8x8x3", "--exportTimes=times.json", "--exportLayerInfo=layers.json"} <= set(argv)
    assert plan_version_argv("trtexec", plan) == ["trtexec", "--getPlanVersionOnly", "--loadEngine=g.plan"]
