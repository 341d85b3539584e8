"""What the commands do to a repository, with a server that only writes down what it is told."""

import numpy as np
import pytest

from services.builder import commands
from services.builder.arguments import Arguments
from services.builder.build import choose
from services.builder.publish import ensure_served, publish, retire, rollback, served_agreement
from services.builder.repository import ModelFolder
from services.core.errors import AccuracyError, ContractError, RepositoryError, ServerError
from services.core.record import BuildRecord, Speed
from services.core.settings import BuilderSettings
from tests.unit.builder.told import SCORES, Told


@pytest.fixture
def server():
    return Told()


@pytest.fixture
def folder(tmp_path, stage_version, make_config):
    """A repository with the versions 1 and 2."""
    folder = ModelFolder(tmp_path / "repository", "tiny")
    for mark in ("one", "two"):
        with folder.locked(0), folder.staging() as staging:
            staged = stage_version(staging / "fp32", mark)
            (staged / "image.pbtxt").unlink()
            np.savez(staged / "golden.npz", inputs=np.zeros((8, 8, 8, 3), np.uint8), scores=SCORES)
            record = BuildRecord.load(staged / "build.json")
            speed = Speed(batch=8, images_per_second=123.4, median_ms=1, p99_ms=1, spread=0.04)
            record.model_copy(update={"max_batch": 3, "speed": speed if mark == "two" else None}).dump(staged / "build.json")
            publish(folder, staged, make_config(), None)
    return folder


@pytest.fixture
def run(tmp_path):
    def run(*words):
        environment = {"MODEL": "tiny", "MODEL_REPOSITORY_DIR": str(tmp_path / "repository"), "TRITON_GRPC_URL": "127.0.0.1:1"}
        arguments = Arguments.parse(list(words))
        return commands.run(arguments, BuilderSettings.from_env(environment, model_name=arguments.model or None))

    return run


def test_a_served_version_is_asked_for_its_whole_golden_set_in_batches_that_it_takes(folder, server):
    agreement = served_agreement(folder, 2, server)
    assert server.batches == [3, 3, 2]
    assert (agreement.samples, agreement.top1_agreement, agreement.max_error, agreement.problems) == (8, 1.0, 0.0, [])


def test_one_wrong_row_behind_the_first_batch_is_found(folder, server):
    server.scores = SCORES.copy()
    server.scores[7, 3] = np.nan
    assert served_agreement(folder, 2, server).problems


def test_a_version_that_answers_wrongly_over_the_server_is_not_served(folder, server):
    server.scores = SCORES[::-1]
    with pytest.raises(AccuracyError, match=r"tiny version 1, asked over gRPC, disagrees .*; version 2 is served again"):
        rollback(folder, 1, server)
    assert folder.live() == 2
    assert server.calls == [("load", "tiny", 1), ("load", "tiny", 2)]


def test_a_retired_model_keeps_its_versions_and_comes_back(folder, server):
    assert retire(folder, server) == 2
    assert server.calls == [("unload", "tiny")]
    assert folder.live() is None
    assert [version.number for version in folder.versions()] == [1, 2]
    with pytest.raises(RepositoryError, match="not in service"):
        retire(folder, server)
    assert rollback(folder, None, server) == 2
    assert (folder.live(), server.calls[-1]) == (2, ("load", "tiny", 2))


def test_a_model_that_the_server_keeps_stays_in_service(folder, server):
    server.refuses = True
    with pytest.raises(ServerError):
        retire(folder, server)
    assert folder.live() == 2


@pytest.mark.usefixtures("folder")
def test_retire_says_how_to_undo_it(run, caplog, monkeypatch):
    monkeypatch.setenv("LAUNCHER", "local")
    caplog.set_level("INFO")
    assert run("retire", "tiny") == {"model": "tiny", "version": None}
    assert "tiny is out of service; its versions stay, and this brings it back: scripts/builder rollback 2" in caplog.text
    assert run("rollback") == {"model": "tiny", "version": 2}


@pytest.mark.parametrize("words", [["retire", "other"], ["rollback", "1"], ["verify"]])
def test_a_model_that_was_never_published_is_named_and_gets_no_folder(tmp_path, run, words):
    with pytest.raises(RepositoryError, match="nothing is published in"):
        run(*words)
    assert not (tmp_path / "repository").exists()


@pytest.mark.usefixtures("folder")
def test_versions_are_listed_with_one_speed_and_its_spread(run):
    rows = run("list")
    assert list(rows[0]) == [
        "version", "live", "precision", "top1_agreement", "max_error", "images_per_second", "spread", "mebibytes", "created", "weights",
        "compiler", "device",
    ]  # fmt: skip
    assert [(row["version"], row["live"], row["images_per_second"], row["spread"]) for row in rows] == [
        (1, False, None, None),
        (2, True, 123.4, 0.04),
    ]
    header, one, two = commands.table(rows).splitlines()
    assert header.split()[:3] == ["version", "live", "precision"]
    assert one.split()[:3] == ["1", "fp32", "1"]
    assert two.split()[:2] == ["2", "*"]
    assert "  123 ±4%  " in two


@pytest.mark.parametrize(
    ("speeds", "taken", "told"),
    [
        ({"fp32": (100, 0.02), "int8": (300, 0.02)}, "int8", ""),
        ({"fp32": (100, 0.05), "int8": (105, 0.05)}, "fp32", "int8 is faster by no more than the measurements vary, so fp32 is taken"),
        ({"fp32": (120, 0.01), "int8": (100, 0.01)}, "fp32", ""),
        ({"fp32": (50, 0.05), "fp16": (100, 0.05), "int8": (105, 0.05)}, "fp16", "so fp16 is taken"),
    ],
)
def test_auto_takes_the_fastest_or_the_more_precise_where_the_spreads_do_not_tell(folder, caplog, speeds, taken, told):
    caplog.set_level("INFO")
    record = folder.record(2)
    records = [
        record.model_copy(
            update={"precision": name, "speed": record.speed.model_copy(update={"images_per_second": per_second, "spread": spread})}
        )
        for name, (per_second, spread) in speeds.items()
    ]
    assert choose(records).precision == taken
    assert told in caplog.text
    assert ("vary" in caplog.text) == bool(told)


@pytest.fixture
def with_image(folder, server, stage_version, make_config):
    """Version 3, which is served with the model that takes files; its golden set is of pixels."""
    server.folder = folder
    with folder.locked(0), folder.staging() as staging:
        staged = stage_version(staging / "fp32", "three")
        np.savez(staged / "golden.npz", inputs=np.arange(8 * 8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 8, 3), scores=SCORES)
        assert publish(folder, staged, make_config(), server) == 3
    return folder


def test_the_model_that_takes_files_is_loaded_after_the_model_and_asked_as_a_client_would(with_image, server):
    assert server.calls == [("load", "tiny", 3), ("load", "tiny_image", 1)]
    assert len(server.files) == 8
    assert all(file.startswith(b"\x89PNG") for file in server.files)
    image = with_image.image.path
    assert {str(path.relative_to(image)) for path in image.rglob("*") if path.is_file()} == {"config.pbtxt", "1/labels.txt", "1/model.py"}


def test_it_goes_with_a_version_of_an_older_release_and_comes_back(with_image, server):
    server.calls.clear()
    rollback(with_image, 2, server)
    assert server.calls == [("load", "tiny", 2), ("unload", "tiny_image")]
    assert not (with_image.image.path / "config.pbtxt").exists()
    rollback(with_image, 3, server)
    assert server.calls[2:] == [("load", "tiny", 3), ("load", "tiny_image", 1)]


def test_it_is_loaded_anew_only_where_its_config_says_something_else(with_image, server, stage_version, make_config):
    server.calls.clear()
    with with_image.locked(0), with_image.staging() as staging:
        staged = stage_version(staging / "fp32", "four")
        np.savez(staged / "golden.npz", inputs=np.zeros((8, 8, 8, 3), np.uint8), scores=SCORES)
        publish(with_image, staged, make_config(), server)
    assert server.calls == [("load", "tiny", 4)]


@pytest.mark.parametrize("loss", ["config.pbtxt", "1/labels.txt", "1/model.py"])
def test_a_file_of_it_that_was_lost_comes_back_with_the_next_build(with_image, server, loss):
    (with_image.image.path / loss).unlink()
    server.image = ""
    server.calls.append(("load", "tiny", 3))
    ensure_served(with_image, 3, server)
    assert (with_image.image.path / loss).is_file()
    assert server.calls[-1] == ("load", "tiny_image", 1)


def test_a_damaged_config_of_it_is_named(with_image):
    (with_image.image.path / "config.pbtxt").write_text("{")
    with pytest.raises(ContractError, match=r"tiny_image/config\.pbtxt is damaged"):
        with_image.image.fingerprint()


def test_a_retired_model_takes_it_along(with_image, server):
    server.calls.clear()
    retire(with_image, server)
    assert server.calls == [("unload", "tiny_image"), ("unload", "tiny")]
    assert not list(with_image.path.parent.glob("*/config.pbtxt"))


def test_a_server_that_cannot_load_it_serves_the_model_all_the_same(with_image, server, caplog):
    server.image = ""
    server.cannot = "tiny_image"
    ensure_served(with_image, 3, server)
    rollback(with_image, 2, server)
    rollback(with_image, 3, server)
    assert with_image.live() == 3
    assert "takes no pictures as files: it cannot; a server of an older release" in caplog.text


def test_a_model_of_somebody_elses_under_its_name_is_left_alone(folder, server, stage_version, make_config):
    config = folder.image.path / "config.pbtxt"
    config.parent.mkdir()
    config.write_text('platform: "ensemble"')
    with folder.locked(0), folder.staging() as staging, pytest.raises(RepositoryError, match="tiny_image holds a model of another kind"):
        publish(folder, stage_version(staging / "fp32", "three"), make_config(), server)
    assert (folder.live(), config.read_text()) == (2, 'platform: "ensemble"')


def test_a_retirement_that_fails_brings_it_back_into_the_server(with_image, server):
    server.refuses = True
    server.calls.clear()
    with pytest.raises(ServerError):
        retire(with_image, server)
    assert with_image.live() == 3
    assert (with_image.image.path / "config.pbtxt").exists()
    assert ("load", "tiny", 3) in server.calls
