"""What a change of each setting makes anew: an engine, a publication of the same engine, or nothing."""

import logging
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.build import build
from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler
from services.builder.repository import ModelFolder
from services.core.errors import ContractError, RepositoryError
from services.core.files import sha256_of
from services.core.record import BuildRecord
from services.core.settings import BuilderSettings
from services.core.settings.base import told
from services.numerics.agreement import Limits, measure
from services.numerics.golden import load_golden
from services.onnx_graphs.session import graph_runner

# Another value for each setting that makes something anew; a new setting has to be added here.
OTHER = {
    "serving": {
        "INSTANCE_COUNT": "2",
        "CPU_THREADS": "3",
        "INSTANCE_KIND": "KIND_GPU",
        "PREFERRED_BATCH": "4",
        "MAX_QUEUE_DELAY_US": "50",
        "MAX_QUEUE_SIZE": "7",
        "QUEUE_TIMEOUT_MS": "9",
        "MAX_PIXELS": "10000",
        "MAX_IMAGE_BYTES": "9999",
        "IMAGE_INSTANCES": "3",
        "DECODE_WORKERS": "1",
        "DECODER": "cpu",
    },
    "engine": {"PRECISION": "int8", "OPT_BATCH": "4", "MAX_BATCH": "16", "WORKSPACE_MIB": "99"},
}


class Counting(OnnxRuntimeCompiler):
    """The compiler of the CPU, which counts what it compiles."""

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def instances(self):
        return 1

    def compile(self, graph, folder, profile):
        self.compiled.append(graph.stem)
        return super().compile(graph, folder, profile)


@pytest.fixture
def exported(tmp_path, make_card, make_classifier):
    """What the exporter would leave of a tiny classifier."""
    folder = tmp_path / "artifacts" / "tiny"
    folder.mkdir(parents=True)
    onnx.save(make_classifier(names=("input", "scores"), softmax=True), folder / "model.onnx")
    inputs = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "golden.npz", inputs=inputs, scores=graph_runner(folder / "model.onnx")(inputs))
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")
    write_card(folder, make_card)
    return folder


def write_card(folder: Path, make_card) -> None:
    card = make_card(pixels=False)
    card = card.model_copy(
        update={
            "onnx": card.onnx.model_copy(update={"sha256": sha256_of(folder / "model.onnx")}),
            "golden": card.golden.model_copy(update={"sha256": sha256_of(folder / "golden.npz")}),
            "labels_sha256": sha256_of(folder / "labels.txt"),
        }
    )
    card.dump(folder / "card.json")


@pytest.fixture
def builder(tmp_path, exported, monkeypatch):
    """Build with some settings; returns the live version and what was compiled for it."""
    monkeypatch.setattr("services.builder.compilers.onnxruntime._ROUND_MS", 0)  # nobody reads the speed

    def run(*, force: bool = False, **environment: str) -> tuple[int, list[str]]:
        fixed = {"MODEL_NAME": "tiny", "ACCELERATOR": "onnxruntime", "ARTIFACTS_DIR": str(exported.parent)}
        settings = BuilderSettings.from_env(fixed | {"MODEL_REPOSITORY_DIR": str(tmp_path / "repository")} | environment)
        compiler = Counting()
        return build(settings, compiler, None, force=force), compiler.compiled

    return run


def test_every_setting_that_makes_something_anew_is_tried_here():
    for what, settings in OTHER.items():
        declared = {name.upper() for name in BuilderSettings.model_fields if told(BuilderSettings, name)["affects"] == what}
        assert declared - {"ACCELERATOR"} == settings.keys(), what


@pytest.mark.parametrize("key", OTHER["serving"])
def test_a_setting_of_serving_publishes_the_proven_engine_and_compiles_nothing(builder, tmp_path, caplog, key):
    caplog.set_level(logging.INFO)
    before = {"INSTANCE_KIND": "KIND_GPU"} if key == "DECODER" else {}  # on a CPU it is "cpu" in any case
    after = before | {key: OTHER["serving"][key]}
    assert builder(**before) == (1, ["fp32"])
    assert builder(**after) == (2, [])
    assert "nothing is compiled" in caplog.text
    one, two = (tmp_path / "repository" / "tiny" / version for version in "12")
    assert (two / "model.onnx").read_bytes() == (one / "model.onnx").read_bytes()
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    configs = [text_format.Parse((path / "config.pbtxt").read_text(), pb.ModelConfig()) for path in (one, two)]
    for config in configs:
        config.ClearField("version_policy")
        config.output[0].label_filename = ""
    of_image = [(path / "image.pbtxt").read_text() for path in (one, two)]
    changed = (configs[0] != configs[1], of_image[0] != of_image[1])
    assert changed.count(True) == (2 if key == "INSTANCE_KIND" else 1)  # pictures are decoded where the model is served
    assert builder(**after) == (2, [])
    assert "up to date" in caplog.text


@pytest.mark.parametrize("key", OTHER["engine"])
def test_a_setting_of_the_engine_compiles(builder, key):
    builder()
    version, compiled = builder(**{key: OTHER["engine"][key]})
    assert (version, len(compiled)) == (2, 1)


def test_new_labels_are_published_with_the_old_engine(builder, exported, make_card, tmp_path):
    builder()
    (exported / "labels.txt").write_text("e\nf\ng\nh\n")
    write_card(exported, make_card)
    assert builder() == (2, [])
    assert (tmp_path / "repository" / "tiny" / "2" / "labels.txt").read_text() == "e\nf\ng\nh\n"


def test_an_export_that_differs_in_nothing_but_its_date_changes_nothing(builder, exported):
    builder()
    text = (exported / "card.json").read_text()
    (exported / "card.json").write_text(text.replace('"fingerprint": "d', '"fingerprint": "e').replace('"1.18.0"', '"1.19.0"'))
    assert builder() == (1, [])


def test_a_damaged_engine_is_compiled_again(builder, tmp_path):
    builder()
    (tmp_path / "repository" / "tiny" / "1" / "model.onnx").write_bytes(b"damaged")
    assert builder(MAX_QUEUE_DELAY_US="1") == (2, ["fp32"])


def test_force_compiles(builder):
    builder()
    assert builder(force=True) == (2, ["fp32"])


def test_what_was_measured_of_an_engine_goes_with_it(builder, tmp_path):
    builder()
    builder(INSTANCE_COUNT="2")
    one, two = (BuildRecord.load(tmp_path / "repository" / "tiny" / version / "build.json") for version in "12")
    assert two == one.model_copy(update={"publication_fingerprint": two.publication_fingerprint})
    assert two.publication_fingerprint != one.publication_fingerprint


def test_what_the_compiler_chooses_counts_as_if_it_was_set(builder):
    assert builder() == (1, ["fp32"])
    assert builder(INSTANCE_COUNT="1", DECODER="cpu") == (1, [])


def test_a_rollback_holds_until_something_changes(builder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    builder()
    builder(INSTANCE_COUNT="2")
    folder = ModelFolder(tmp_path / "repository", "tiny")
    folder.serve(1)
    assert builder(INSTANCE_COUNT="2") == (1, [])
    assert "version 2; version 1 is served since a rollback (rollback 2 ends it)" in caplog.text
    assert folder.live() == 1
    assert builder() == (1, [])
    assert builder(INSTANCE_COUNT="3") == (3, [])


def test_a_build_puts_a_retired_model_back_into_service(builder, tmp_path):
    builder()
    folder = ModelFolder(tmp_path / "repository", "tiny")
    folder.unserve()
    assert builder() == (1, [])
    assert (folder.live(), folder.numbers()) == (1, [1])
    folder.unserve()
    assert builder(INSTANCE_COUNT="2") == (2, [])


def test_a_server_that_could_not_load_the_engine_is_found_out_before_anything_is_lowered(builder, exported, monkeypatch):
    def refuse(_self):
        raise ContractError("this builder has TensorRT 11, the server has 10")

    monkeypatch.setattr(Counting, "demand_server", refuse)
    with pytest.raises(ContractError, match="the server has 10"):
        builder()
    assert not (exported / "build").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8", "auto"])
def test_without_calibration_pictures_every_precision_passes_by_the_rule_it_was_published_with(builder, tmp_path, precision):
    """Each row of the golden set alone, as the health check asks, too."""
    builder(PRECISION=precision)
    version = tmp_path / "repository" / "tiny" / "1"
    record, golden = BuildRecord.load(version / "build.json"), load_golden(version / "golden.npz")
    found = graph_runner(version / "model.onnx")(golden.inputs)
    limits = Limits.of(record.accuracy.model_dump())
    assert measure(found, golden.scores, limits).problems == []
    for row in range(len(found)):
        part = limits.of_part(1, len(found))
        assert measure(found[row : row + 1], golden.scores[row : row + 1], part).problems == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("full", "pages"), [("repository", 4), ("artifacts/tiny/build", 0)])
def test_a_full_disk_is_called_one(builder, tmp_path, full, pages, precision):
    """Under MODEL_REPOSITORY what is compiled has no room, under ARTIFACTS what is lowered; both used to fail in words of protobuf."""
    folder = tmp_path / full
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * (pages + 1)}k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        (folder / "something else").write_bytes(bytes(4096))
        with pytest.raises(RepositoryError, match="No space left on device") as caught:
            builder(PRECISION=precision)
        assert "free some space" in caught.value.hint
    finally:
        subprocess.run(["umount", folder], check=True)
