"""Addresses, waiting and retrying, and what is said when nobody or a stranger answers."""

import functools
import http.server
import socket
import threading
import time

import pytest

from services.client.address import Address, grpc_address, http_address
from services.client.transport import BusyError, NotTritonError, UnreachableError, connect, is_overload
from services.client.wait import patiently, wait_until_ready
from services.core.errors import ServerError, SettingsError
from services.core.settings import ClientSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("triton:8000", Address("triton:8000", False)),
        ("http://127.0.0.1:8000/", Address("127.0.0.1:8000", False)),
        ("https://vision.example:443/triton/", Address("vision.example:443/triton", True)),
        ("[::1]:8000", Address("[::1]:8000", False)),
    ],
)
def test_http_addresses(text, expected):
    assert http_address(text) == expected


def test_grpc_addresses():
    assert grpc_address("triton:8001") == Address("triton:8001", False)
    assert grpc_address("grpcs://vision.example:443/") == Address("vision.example:443", True)


@pytest.mark.parametrize("text", ["triton", "triton:", ":8000", "triton:http", "triton:99999", "ftp://triton:1", "grpc://triton:8001", "/"])
def test_what_is_no_http_address_is_named(text):
    with pytest.raises(SettingsError, match="TRITON_URL") as caught:
        http_address(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[request id: <id_unknown>] Exceeds maximum queue size", True),
        ("Request timeout expired", True),
        ("inference request batch-size must be <= 4 for 'tiny'", False),
    ],
)
def test_overload_is_told_from_other_refusals(message, expected):
    assert is_overload(message) is expected


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

    started = time.monotonic()
    with pytest.raises(ServerError, match=r"full \(asked again for 0\.3 s\)") as caught:
        patiently(always_full, seconds=0.3)
    assert time.monotonic() - started < 1
    assert "MAX_QUEUE_SIZE" in caught.value.hint


def test_other_errors_are_not_repeated():
    with pytest.raises(ServerError, match="first"):
        patiently(answers(ServerError("first"), "never asked for"), seconds=5)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound and not listening: connections are refused, and nobody else gets it


def settings(protocol, port, **changes):
    address = f"127.0.0.1:{port}"
    return ClientSettings(protocol=protocol, triton_url=address, triton_grpc_url=address, model="tiny", **({"wait_seconds": 0.5} | changes))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nobody_answers(protocol, free_port):
    with pytest.raises(ServerError, match=r"no Triton server answers at .*refused.*\(waited 0\.5 s\)") as caught:
        wait_until_ready(settings(protocol, free_port))
    assert "docker compose up" in caught.value.hint


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_unknown_host(protocol):
    wrong = settings(protocol, 1).model_copy(update={"triton_url": "nosuch.invalid:8000", "triton_grpc_url": "nosuch.invalid:8001"})
    with pytest.raises(ServerError, match=r"no Triton server answers at .*nosuch\.invalid"):
        wait_until_ready(wrong)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_stranger_s_web_server_is_told_at_once(protocol, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        started = time.monotonic()
        with pytest.raises(NotTritonError, match="is no Triton server"):
            wait_until_ready(settings(protocol, server.server_port, wait_seconds=60))
        assert time.monotonic() - started < 10
        server.shutdown()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_says_nothing_does_not_hold_the_client(protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent, connect(settings(protocol, silent.getsockname()[1]), timeout=0.5) as transport:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"no answer within 0\.5 s"):
            transport.is_ready("tiny")
        assert time.monotonic() - started < 5
