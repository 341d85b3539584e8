"""However its files were tampered with, the builder's command ends with the exit code of its kind, and says how to mend it."""

import json
from functools import partial

import pytest

from services.builder.__main__ import main
from services.builder.publish import publish
from services.builder.repository import ModelFolder

DAMAGED = [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null", b'{"format_version": "\\u001b[31m"}', b"1" * 10_000]
SETTINGS = {"MODEL_NAME": "tiny", "ACCELERATOR": "onnxruntime", "TRITON_GRPC_URL": "127.0.0.1:1"}


@pytest.fixture
def builder(tmp_path, monkeypatch, ended):
    """How the command ended: its exit code, and what it said."""
    folders = {"ARTIFACTS_DIR": tmp_path / "artifacts", "MODEL_REPOSITORY_DIR": tmp_path / "repository"}
    for key, value in (SETTINGS | folders).items():
        monkeypatch.setenv(key, str(value))
    return partial(ended, main)


@pytest.fixture
def version(tmp_path, stage_version, make_config):
    """The folder of a published version."""
    folder = ModelFolder(tmp_path / "repository", "tiny")
    with folder.locked(0), folder.staging() as staging:
        number = publish(folder, stage_version(staging / "fp32"), make_config(), None)
    return folder.path / str(number)


def changed(text: str, path: str, value: object) -> str:
    """A document with the value at a path (``a.0.b``) changed."""
    document = json.loads(text)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = document
    for step in parents:
        place = place[step]
    place[last] = value
    return json.dumps(document)


def demand_mended(code: int, said: str, found: str) -> None:
    assert code == 4
    assert found in said
    assert "   fix: " in said
    assert "\x1b" not in said


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("name", ["card.json", "build.json"])
def test_a_document_that_is_none(builder, version, tmp_path, name, content):
    file = tmp_path / "artifacts" / "tiny" / name if name == "card.json" else version / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    code, _, said = builder("build", "--dry-run") if name == "card.json" else builder("verify")
    demand_mended(code, said, str(file))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "\ud800"),
        ("name", "other"),
        ("labels", 10**400),
        ("labels", "4\x1b"),
        ("labels", 0),
        ("outputs.0.name", "\ud800"),
        ("outputs.0.shape.1", 10**30),
        ("outputs.0.dtype", "UINT8"),
        ("inputs.0.shape.1", 2**40),
        ("preprocessing.crop", 10**9),
        ("preprocessing.resize", 10**9),
        ("preprocessing.mean.0", float("nan")),
        ("preprocessing.std.0", 1e999),
        ("preprocessing.normalised_in_graph", False),
        ("golden", None),
        ("\x1b[31m", 1),
    ],
)
def test_a_tampered_card(builder, tmp_path, make_card, path, value):
    file = tmp_path / "artifacts" / "tiny" / "card.json"
    make_card().dump(file)
    file.write_text(changed(file.read_text(), path, value))
    code, _, said = builder("build", "--dry-run")
    demand_mended(code, said, "is of a model other" if value == "other" else f"{file} is damaged")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_batch", 0),
        ("max_batch", -1),
        ("max_batch", 10**30),
        ("engine_file", ""),
        ("engine_file", "../../secret"),
        ("engine_file", "\ud800"),
        ("engine_bytes", 10**400),
        ("accuracy.max_error", float("nan")),
        ("accuracy", []),
        ("source.weights", "\ud800"),
        ("notes", "\x1b[31m"),
    ],
)
def test_a_tampered_record(builder, version, path, value):
    file = version / "build.json"
    file.write_text(changed(file.read_text(), path, value))
    code, _, said = builder("verify")
    demand_mended(code, said, f"{file} is damaged")
    code, table, said = builder("list")
    assert (code, len(table.splitlines())) == (0, 1)
    assert "version 1 is passed over" in said


def test_an_engine_that_is_not_the_proven_one(builder, version):
    (version / "model.onnx").write_bytes(b"other")
    code, _, said = builder("verify")
    demand_mended(code, said, f"model.onnx in {version} changed after the version was published")
    (version / "model.onnx").unlink()
    code, _, said = builder("verify")
    demand_mended(code, said, f"cannot read {version / 'model.onnx'}: No such file")


def test_an_engine_of_another_compiler(builder, version):
    file = version / "build.json"
    file.write_text(changed(file.read_text(), "compiler.name", "tensorrt"))
    code, _, said = builder("verify")
    assert code == 2
    assert "set ACCELERATOR=tensorrt" in said


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"versions: " + b"9" * 5000])
@pytest.mark.parametrize("command", ["list", "verify", "rollback", "retire"])
def test_a_config_that_names_no_version(builder, version, command, content):
    (version.parent / "config.pbtxt").write_bytes(content)
    code, _, said = builder(command)
    demand_mended(code, said, "config.pbtxt names no version")


def test_folders_that_are_no_versions(builder, version):
    (version.parent / "1\N{SUPERSCRIPT TWO}").mkdir()
    code, table, _ = builder("list")
    assert (code, len(table.splitlines())) == (0, 2)


def test_the_table_of_versions_shows_escapes(builder, version):
    file = version / "build.json"
    file.write_text(changed(file.read_text(), "source.weights", "a\x1b[31m\u202e\nb"))
    code, table, _ = builder("list")
    assert code == 0
    assert table.splitlines()[1].endswith(r"a\x1b[31m\u202e\nb aaaaaaaaaaaa")


def test_a_number_of_thousands_of_digits(builder):
    code, _, said = builder("rollback", "9" * 5000)
    assert code == 2
    assert "rollback takes the number of a version" in said
