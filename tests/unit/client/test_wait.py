"""Waiting for a server, for its model, and for an overload to pass."""

import socket
import threading
import time
import types

import pytest

from services.client import wait
from services.client.protocol import AbsentError, BusyError, NotTritonError, RefusedError, UnreachableError, is_passing
from services.client.wait import NotReadyError, patiently, wait_until_ready
from services.core.errors import ServerError, SettingsError
from tests.unit.client.servers import web_server


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[request id: <id_unknown>] Exceeds maximum queue size", True),
        ("Request timeout expired", True),
        ("Stub process 'tiny_image_0_0' is not healthy.", True),
        ("inference request batch-size must be <= 4 for 'tiny'", False),
    ],
)
def test_what_passes_is_told_from_other_refusals(message, expected):
    assert is_passing(message) is expected


def answers(*outcomes):
    """A question that is answered by one outcome after the other; errors are raised."""
    left = list(outcomes)

    def ask():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return ask


def test_overload_passes():
    assert patiently(answers(BusyError("full"), BusyError("full"), "answer"), seconds=5) == "answer"


def test_overload_is_borne_for_a_bounded_time():
    def always_full():
        raise BusyError("full")

    with pytest.raises(ServerError, match=r"full \(asked again for 0\.3 s\)") as caught:
        patiently(always_full, seconds=0.3)
    assert "MAX_QUEUE_SIZE" in caught.value.hint


def test_a_lost_connection_comes_back():
    assert patiently(answers(UnreachableError("lost"), AbsentError("refused"), "answer"), seconds=5) == "answer"


def test_a_lost_server_is_borne_for_a_bounded_time_and_told_once(monkeypatch, caplog):
    monkeypatch.setattr(wait, "LONGEST_PAUSE_SECONDS", 0.1)

    def gone():
        raise AbsentError("refused", hint="start it")

    with pytest.raises(AbsentError, match=r"refused \(asked again for 0\.3 s\)") as caught:
        patiently(gone, seconds=0.3)
    assert caught.value.hint == "start it"
    assert caplog.messages == ["refused; asking again for 0 s"]


def test_a_question_that_had_no_answer_in_all_its_time_is_not_repeated():
    def silent():
        time.sleep(0.1)
        raise UnreachableError("no answer within 0.1 s")

    with pytest.raises(UnreachableError, match=r"no answer within 0\.1 s$"):
        patiently(silent, seconds=0.1)


def test_other_errors_are_not_repeated():
    with pytest.raises(ServerError, match="first"):
        patiently(answers(ServerError("first"), "never asked for"), seconds=5)
    with pytest.raises(RefusedError, match="wrong"):
        patiently(answers(RefusedError("wrong", "wrong"), "never asked for"), seconds=5)


def test_the_named_model(triton, settings_for):
    triton.models = ["other", "tiny"]
    assert wait_until_ready(settings_for(triton.protocol, triton.port, model="tiny")) == "tiny"


def test_without_a_name_the_one_that_is_served(triton, settings_for):
    triton.models = ["tiny", "tiny"]  # two versions of one model
    assert wait_until_ready(settings_for(triton.protocol, triton.port)) == "tiny"


def test_a_model_that_takes_files_for_another_is_none_of_its_own(triton, settings_for):
    triton.models = ["tiny", "tiny_image"]
    assert wait_until_ready(settings_for(triton.protocol, triton.port)) == "tiny"


def test_without_a_name_several_are_named(triton, settings_for):
    triton.models = ["tiny", "other", "tiny_image"]
    with pytest.raises(SettingsError, match=r"serves several models: other, tiny$") as caught:
        wait_until_ready(settings_for(triton.protocol, triton.port, wait_seconds=60))
    assert "--model" in caught.value.hint


def test_without_a_name_the_first_to_get_ready_is_waited_for(triton, settings_for):
    soon = threading.Timer(0.5, lambda: triton.models.append("tiny"))
    soon.start()
    assert wait_until_ready(settings_for(triton.protocol, triton.port, wait_seconds=60)) == "tiny"
    soon.join()


@pytest.mark.parametrize(("name", "found"), [("", "has no model that is ready"), ("tiny", "model tiny is not ready; ready are: none")])
def test_no_model_gets_ready(triton, settings_for, name, found):
    with pytest.raises(NotReadyError, match=rf"{found} \(waited 0\.5 s\)"):
        wait_until_ready(settings_for(triton.protocol, triton.port, model_name=name))


def test_another_model_is_served(triton, settings_for):
    triton.models = ["other"]
    with pytest.raises(NotReadyError, match="model tiny is not ready; ready are: other"):
        wait_until_ready(settings_for(triton.protocol, triton.port, model="tiny"))


@pytest.fixture
def slept(monkeypatch):
    """Time that passes only while somebody sleeps."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(wait, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("absent_seconds", "waited"), [(5, 5), (120, 120), (500, 120)])
def test_where_nobody_listens_the_wait_is_short_unless_it_was_asked_for(protocol, absent_seconds, waited, settings_for, slept):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(AbsentError, match=rf"refused \(waited {waited} s\)"):
            wait_until_ready(settings_for(protocol, closed.getsockname()[1], wait_seconds=120), absent_seconds)
    assert waited - wait.LONGEST_PAUSE_SECONDS <= slept[0] <= waited


def test_while_something_answers_the_wait_is_long(triton, settings_for, slept):
    with pytest.raises(NotReadyError, match=r"waited 20 s"):
        wait_until_ready(settings_for(triton.protocol, triton.port, model="tiny", wait_seconds=20), 5)
    assert slept[0] > 15


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_stranger_s_web_server_is_told_at_once(protocol, settings_for, slept):
    with web_server(lambda _path: (200, b"hello")) as port, pytest.raises(NotTritonError):
        wait_until_ready(settings_for(protocol, port, wait_seconds=60))
    assert slept[0] == 0
