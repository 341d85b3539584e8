"""An export is made again when anything it depends on has changed, and not otherwise."""

import hashlib

import pytest

from services.core.errors import RepositoryError, SourceError
from services.exporter.export import export
from services.exporter.fingerprint import REVISION, export_fingerprint, up_to_date
from services.exporter.sources import parse_source
from services.numerics.golden import load_golden

PINNED = (
    1,
    "377eb502066cf708d57adf78368d0f4be9dffbc51315e67285e0d4825bfb1c89",
    "d546ae2ee0290ee34dbf93c04343418b5db1eafe99ad576de832478d5cc1b054",
)


@pytest.fixture
def fingerprint(settings, make_classifier, tmp_path):
    settings(make_classifier())
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")

    def fingerprint(**environment: object) -> str:
        made = settings(**{"LABELS": tmp_path / "labels.txt"} | environment)
        return export_fingerprint(made, parse_source(made.model))

    return fingerprint


@pytest.mark.parametrize(
    "environment",
    [
        {"INPUT": "float32"},
        {"SCORES": "logits"},
        {"RESIZE": 99},
        {"MEAN": "0,0,0"},
        {"GOLDEN_COUNT": 5},
        {"MODEL_NAME": "x"},
        {"LABELS": ""},
    ],
)
def test_every_setting_of_the_export_counts(fingerprint, environment):
    assert fingerprint(**environment) != fingerprint()


@pytest.mark.parametrize("environment", [{"ARTIFACTS_DIR": "/elsewhere"}, {"LOG_FORMAT": "json"}, {"MODEL_REPOSITORY_DIR": "/x"}])
def test_where_things_are_does_not_count(fingerprint, environment):
    assert fingerprint(**environment) == fingerprint()


@pytest.mark.parametrize("name", ["tiny.onnx", "labels.txt", "photographs/0.png"])
def test_the_content_of_every_file_counts(fingerprint, tmp_path, name):
    before = fingerprint()
    (tmp_path / name).touch()
    assert fingerprint() == before
    with (tmp_path / name).open("ab") as file:
        file.write(b"x")
    assert fingerprint() != before


def test_a_new_photograph_counts_and_another_file_does_not(fingerprint, tmp_path):
    before = fingerprint()
    (tmp_path / "photographs" / "notes.txt").write_text("x")
    assert fingerprint() == before
    (tmp_path / "photographs" / "2.png").write_bytes((tmp_path / "photographs" / "0.png").read_bytes())
    assert fingerprint() != before


@pytest.fixture
def exported(settings, make_classifier):
    made = settings(make_classifier())
    export(made, parse_source(made.model), "f")
    return made


def test_an_export_is_up_to_date_with_its_own_fingerprint_alone(exported):
    assert up_to_date(exported.artifacts, "f")
    assert not up_to_date(exported.artifacts, "g")


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "labels.txt", "card.json"])
def test_an_export_with_a_file_missing_is_not_up_to_date(exported, name):
    (exported.artifacts / name).unlink()
    assert not up_to_date(exported.artifacts, "f")


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "card.json"])
def test_an_export_with_a_damaged_file_is_not_up_to_date(exported, name):
    path = exported.artifacts / name
    path.write_bytes(path.read_bytes()[:-7])
    assert not up_to_date(exported.artifacts, "f")


def test_an_export_that_ended_half_way_is_not_taken_for_the_one_before(exported, settings, tmp_path):
    """The new labels are there, and model and golden set are the same: only the card could tell."""
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    made = settings(LABELS=tmp_path / "labels.txt")
    (made.artifacts / "labels.txt").unlink()
    (made.artifacts / "labels.txt").mkdir()
    with pytest.raises(RepositoryError, match="Is a directory"):
        export(made, parse_source(made.model), "g")
    (made.artifacts / "labels.txt").rmdir()
    (made.artifacts / "labels.txt").write_text("a\nb\nc\nd\n")
    assert not up_to_date(exported.artifacts, "f")


def test_the_exporter_does_what_its_revision_did(settings, make_classifier):
    """An export of the same revision is taken for up to date, whatever has changed in the code."""
    made = settings(make_classifier())
    card = export(made, parse_source(made.model), "f")
    inputs = load_golden(made.artifacts / "golden.npz").inputs  # the scores differ between processors, in their last digits
    found = (REVISION, card.onnx.sha256, hashlib.sha256(inputs.tobytes()).hexdigest())
    assert found == PINNED, "the exporter behaves otherwise: raise REVISION in services/exporter/fingerprint.py, and pin what it does now"


def test_an_export_is_the_same_every_time(settings, make_classifier):
    made = settings(make_classifier(1, flatten=[1, 3]))
    first, second = (export(made, parse_source(made.model), "f") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("setting", ["MODEL", "WEIGHTS", "LABELS"])
def test_a_file_that_may_not_be_read_is_named(settings, make_classifier, tmp_path, as_nobody, setting):
    settings(make_classifier())
    path = tmp_path / "secret.onnx"
    path.write_text("x")
    path.chmod(0)
    made = settings(**{setting: f"onnx:{path}" if setting == "MODEL" else path})
    with as_nobody(), pytest.raises(SourceError, match=r"cannot read .*secret\.onnx: Permission denied") as caught:
        export_fingerprint(made, parse_source(made.model))
    assert "make it readable" in caught.value.hint


def test_a_folder_that_may_not_be_entered_is_named(settings, make_classifier, tmp_path, as_nobody):
    (tmp_path / "secret").mkdir(mode=0)
    made = settings(make_classifier(), LABELS=tmp_path / "secret" / "labels.txt")
    with as_nobody(), pytest.raises(SourceError, match=r"cannot read .*labels\.txt: Permission denied"):
        export_fingerprint(made, parse_source(made.model))
