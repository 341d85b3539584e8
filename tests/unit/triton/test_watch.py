"""The questions that the launcher asks its server; tests/local asks Triton itself."""

import json

import numpy as np
import pytest

from services.triton.watch import RECENT_TURNS, Watcher
from tests.unit.triton.conftest import INPUTS, ready


@pytest.fixture
def watch(triton, publish, tmp_path):
    """A watcher of version 3, which is published and loaded."""
    return Watcher(triton.port, publish(), tmp_path / "verdict.json")


def verdict(tmp_path):
    return json.loads((tmp_path / "verdict.json").read_text())


def paths(triton):
    return {path for path, _ in triton.asked}


def test_the_whole_golden_set_is_asked_first_in_batches_that_the_engine_takes(watch, triton, tmp_path):
    assert watch.turn() == ""
    assert [len(rows) for _, rows in triton.asked] == [3, 1]
    assert (np.concatenate([rows for _, rows in triton.asked]) == INPUTS).all()
    assert paths(triton) == {"/v2/models/m/versions/3/infer"}
    assert verdict(tmp_path)["healthy"]
    assert verdict(tmp_path)["message"] == "m version 3 gives the known answers"


def test_after_that_one_row_is_asked_each_time_in_turn(watch, triton):
    for _ in range(6):
        assert watch.turn() == ""
    rows = [rows for _, rows in triton.asked[2:]]
    assert [len(row) for row in rows] == [1] * 5
    assert (np.concatenate(rows) == INPUTS[[0, 1, 2, 3, 0]]).all()


def test_wrong_answers_are_told_each_time_and_count_only_once_the_server_was_healthy(watch, triton, tmp_path):
    triton.error = 0.5
    for _ in range(3):
        assert watch.turn() == (
            "version 3 gives other answers than it was proven with: the largest error is 0.5, expected at most 0.01; "
            "the mean error is 0.5, expected at most 0.01"
        )
    assert watch.failures == 0
    assert not verdict(tmp_path)["healthy"]
    triton.error = 0
    watch.turn()
    triton.error = 0.5
    watch.turn()
    watch.turn()
    assert watch.failures == 2
    triton.error = 0
    for _ in range(RECENT_TURNS):
        assert watch.turn() == ""
    assert watch.failures == 0


def test_every_other_failure_counts(watch, triton):
    """Where one of two instances died, the other one still answers."""
    watch.turn()
    for failures in (1, 2, 3):
        triton.refuses = "Stub process is not healthy"
        watch.turn()
        triton.refuses = ""
        assert watch.turn() == ""
        assert watch.failures == failures


def test_a_batch_that_anothers_request_spoiled_does_not_count(watch, triton):
    """What Triton says to all requests of a batch into which one without rows came."""
    watch.turn()
    triton.refuses = "batch size 130 for 'm_0_0', max allowed is 32"
    for _ in range(RECENT_TURNS):
        assert "max allowed is 32" in watch.turn()
    assert watch.failures == 0


def test_a_server_that_is_ready_but_answers_no_more_is_not_healthy(watch, triton):
    """What Triton does when its Python stub was killed."""
    watch.turn()
    triton.refuses = "Stub process is not healthy"
    for failures in (1, 2, 3):
        assert watch.turn() == "version 3 refuses a known picture: Stub process is not healthy"
        assert watch.failures == failures


def test_a_forgiven_golden_row_is_forgiven_when_it_is_asked_alone(triton, publish, tmp_path):
    """Otherwise a version that passed the builder's gate would be unhealthy for ever."""
    watch = Watcher(triton.port, publish(max_error=1.0, top1=0.75), tmp_path / "verdict.json")
    assert watch.turn() == ""
    triton.error = 0.4
    assert [watch.turn() for _ in range(4)] == [""] * 4


def test_a_published_version_that_is_not_loaded_yet_leaves_the_one_before_it_healthy(watch, triton, publish):
    watch.turn()
    publish(4)
    triton.asked.clear()
    assert watch.turn() == ""
    assert paths(triton) == {"/v2/models/m/versions/3/infer"}
    triton.ready = ready(4)
    triton.asked.clear()
    assert watch.turn() == ""
    assert [(path, len(rows)) for path, rows in triton.asked] == [
        ("/v2/models/m/versions/4/infer", 3),
        ("/v2/models/m/versions/4/infer", 1),
    ]


def test_a_version_that_was_built_anew_has_to_prove_itself_anew(watch, triton, publish):
    watch.turn()
    publish(3, max_batch=1)
    triton.asked.clear()
    assert watch.turn() == ""
    assert [len(rows) for _, rows in triton.asked] == [1, 1, 1, 1]


def test_a_retired_model_is_not_served_and_ends_no_server(watch, triton, publish, tmp_path):
    watch.turn()
    (publish() / "config.pbtxt").unlink()
    triton.ready = set()
    for _ in range(5):
        assert watch.turn().startswith("m was taken out of service")
    assert watch.failures == 0
    assert not verdict(tmp_path)["healthy"]
    publish()
    triton.ready = ready(3)
    assert watch.turn() == ""


def test_a_first_version_that_is_not_loaded_is_not_healthy(watch, triton):
    triton.ready = ready()
    assert watch.turn() == "version 3 of m is not loaded"
    triton.ready = set()
    assert watch.turn() == "model m is not ready"


def test_a_server_that_is_not_there_is_said_so(publish, tmp_path):
    assert Watcher(1, publish(), tmp_path / "verdict.json").turn().startswith("nothing answers on port 1: ")


@pytest.mark.parametrize(
    ("file", "content"), [("config.pbtxt", 'name: "m"'), ("3/build.json", "{"), ("3/golden.npz", "no zip"), ("3/card.json", None)]
)
def test_a_damaged_repository_is_a_verdict_and_ends_nothing(watch, publish, tmp_path, file, content):
    path = publish() / file
    path.unlink() if content is None else path.write_text(content)
    assert watch.turn()
    assert not verdict(tmp_path)["healthy"]


def test_a_verdict_that_cannot_be_written_ends_no_server(triton, publish, tmp_path, caplog):
    (tmp_path / "file").touch()
    watch = Watcher(triton.port, publish(), tmp_path / "file" / "verdict.json")
    assert watch.turn() == ""
    assert "cannot write" in caplog.text


def test_it_asks_often_while_it_is_in_doubt_and_seldom_once_it_is_not(watch, triton):
    starting = watch.pause
    watch.turn()
    steady = watch.pause
    triton.refuses = "no"
    watch.turn()
    assert starting < watch.pause < steady


@pytest.fixture
def image(watch, triton, tmp_path):
    """The model beside the watched one that takes files: published and loaded; what is asked of it."""
    config = tmp_path / "repository" / "m_image" / "config.pbtxt"
    config.parent.mkdir()
    config.touch()
    triton.ready |= {"/v2/models/m_image/ready"}
    watch.turn()
    triton.asked.clear()
    return config


@pytest.mark.usefixtures("image")
def test_the_model_that_takes_files_is_asked_the_same_as_a_picture(watch, triton):
    assert watch.turn() == ""
    (_, pixels), (path, picture) = triton.asked
    assert path == "/v2/models/m_image/infer"
    assert (picture == pixels).all()


@pytest.mark.usefixtures("image")
def test_wrong_answers_of_the_model_that_takes_files_count(watch, triton):
    watch.turn()
    triton.image_error = 0.5
    assert watch.turn().startswith("m_image gives other answers than it was proven with")
    assert watch.failures == 1


@pytest.mark.usefixtures("image")
def test_a_model_that_takes_files_and_is_ready_no_more_counts(watch, triton):
    watch.turn()
    triton.ready = ready(3)
    assert watch.turn() == "model m_image is not ready"
    assert watch.failures == 1


def test_a_server_that_cannot_load_the_model_that_takes_files_still_serves_the_model(watch, triton, image, caplog):
    triton.ready = ready(3)
    for _ in range(RECENT_TURNS):
        assert watch.turn() == ""
    assert watch.failures == 0
    assert caplog.text.count("model m_image is not ready") == 1
    image.unlink()
    assert watch.turn() == ""


@pytest.mark.usefixtures("image")
def test_a_new_version_gives_the_model_that_takes_files_time_to_be_loaded(watch, triton, publish):
    watch.turn()
    publish(4)
    triton.ready = ready(4)
    assert [watch.turn() for _ in range(3)] == [""] * 3
    assert watch.failures == 0
