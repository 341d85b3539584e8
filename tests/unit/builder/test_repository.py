"""Publishing is one rename: whatever happens to the builder, the config names a version that is whole."""

import os
import signal
import subprocess
import sys

import pytest

from services.builder.model_config import numbered
from services.builder.publish import publish, rollback
from services.builder.repository import ModelFolder
from services.core.errors import ContractError, RepositoryError

WHOLE = {"build.json", "card.json", "config.pbtxt", "image.pbtxt", "labels.txt", "model.onnx", "golden.npz"}


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "repository", "tiny")


@pytest.fixture
def publish_one(folder, stage_version, make_config):
    """Publish a version whose content is ``mark``."""

    def publish_one(mark: str, **changes: object) -> int:
        with folder.locked(0), folder.staging() as staging:
            return publish(folder, stage_version(staging / "fp32", mark), make_config(**changes), None)

    return publish_one


def names(folder: ModelFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()}


def test_nothing_is_published_at_first(folder):
    assert folder.live() is None
    assert folder.versions() == []


def test_each_publish_is_the_next_number_and_live(folder, publish_one):
    for number, mark in enumerate(("one", "two", "three"), start=1):
        assert publish_one(mark) == folder.live() == number
        assert (folder.path / str(number) / "model.onnx").read_text() == mark
        assert {path.name for path in (folder.path / str(number)).iterdir()} == WHOLE
    assert [(version.number, version.live, version.record.engine_fingerprint) for version in folder.versions()] == [
        (1, False, "one"),
        (2, False, "two"),
        (3, True, "three"),
    ]
    assert names(folder) == {"1", "2", "3", "config.pbtxt", "card.json", ".lock"}


def test_rollback_brings_back_the_config_of_that_version(folder, publish_one):
    publish_one("one", max_batch_size=8)
    publish_one("two", max_batch_size=32)
    before = (folder.path / "config.pbtxt").read_bytes()
    with folder.locked(0):
        assert rollback(folder, None, None) == 1
    assert (folder.path / "config.pbtxt").read_bytes() == (folder.path / "1" / "config.pbtxt").read_bytes()
    assert "max_batch_size: 8\n" in (folder.path / "config.pbtxt").read_text()
    with folder.locked(0):
        assert rollback(folder, 2, None) == 2
    assert (folder.path / "config.pbtxt").read_bytes() == before


def test_rollback_goes_to_the_version_before_the_live_one(folder, publish_one):
    for mark in ("one", "two", "three"):
        publish_one(mark)
    assert [rollback(folder, None, None) for _ in range(2)] == [2, 1]
    with pytest.raises(RepositoryError, match="no version older than the live one"):
        rollback(folder, None, None)
    assert folder.live() == 1


def test_rollback_passes_over_a_damaged_version(folder, publish_one):
    for mark in ("one", "two", "three"):
        publish_one(mark)
    (folder.path / "2" / "build.json").write_text("{")
    assert rollback(folder, None, None) == 1


def test_rollback_to_a_version_that_is_not_there_changes_nothing(folder, publish_one):
    publish_one("one")
    publish_one("two")
    with pytest.raises(RepositoryError, match=r"versions of tiny: 1, 2$"):
        rollback(folder, 7, None)
    assert folder.live() == 2


def test_pruning_keeps_the_newest(folder, publish_one):
    for mark in "abcde":
        publish_one(mark)
    folder.prune(3)
    assert [version.number for version in folder.versions()] == [3, 4, 5]
    folder.prune(1)
    assert [version.number for version in folder.versions()] == [5]
    assert names(folder) == {"5", "config.pbtxt", "card.json", ".lock"}


def test_pruning_never_takes_the_live_version(folder, publish_one):
    for mark in "abcd":
        publish_one(mark)
    rollback(folder, 1, None)
    folder.prune(2)
    assert [(version.number, version.live) for version in folder.versions()] == [(1, True), (4, False)]


def test_numbers_go_on_after_pruning(folder, publish_one):
    for mark in "abc":
        publish_one(mark)
    folder.prune(1)
    assert publish_one("d") == 4


def test_what_a_killed_builder_left_is_gone_with_the_next_lock(folder, publish_one):
    publish_one("one")
    (folder.path / ".staging-99" / "fp16").mkdir(parents=True)
    (folder.path / ".staging-99" / "fp16" / "model.plan").touch()
    (folder.path / ".config.pbtxt.99.part").touch()
    with folder.locked(0):
        assert names(folder) == {"1", "config.pbtxt", "card.json", ".lock"}


def test_a_failed_build_leaves_no_staging(folder):
    def build() -> None:
        with folder.locked(0), folder.staging() as staging:
            (staging / "fp32").mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build()
    assert names(folder) == {".lock"}


def test_a_publish_that_fails_half_way_leaves_the_old_version_live_and_no_other(folder, publish_one):
    """A folder in the place of the card makes its rename fail, as a full disk would."""
    publish_one("one")
    (folder.path / "card.json").unlink()
    (folder.path / "card.json").mkdir()
    with pytest.raises(RepositoryError, match="Is a directory"):
        publish_one("two")
    assert [(version.number, version.live) for version in folder.versions()] == [(1, True)]


def test_a_damaged_config_is_named_and_nothing_is_published_over_it(folder, publish_one):
    publish_one("one")
    (folder.path / "config.pbtxt").write_text("name: ")
    with pytest.raises(ContractError, match=r"config\.pbtxt names no version"):
        folder.live()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_builders_ended_at_any_instant_leave_a_config_that_names_a_whole_version(folder, stage_version, root, tmp_path, number):
    parts = stage_version(tmp_path / "parts", "content" * 10_000)
    script = [sys.executable, root / "tests/unit/builder/ended_builders.py", folder.path.parent, parts, str(int(number)), "25"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 0, result.stderr
    with folder.locked(0):
        assert not [name for name in names(folder) if name.startswith(".") and name != ".lock"]
    assert folder.live() >= 25


def test_a_version_is_published_with_the_config_of_its_own_number(folder, stage_version, make_config, tmp_path):
    folder.path.mkdir(parents=True)
    number = folder.add(stage_version(tmp_path / "staged"), make_config())
    assert (folder.path / "1" / "config.pbtxt").read_text() == numbered(make_config(), 1).to_text()
    assert (number, folder.live()) == (1, None)
