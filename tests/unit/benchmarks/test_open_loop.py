"""The open loop against a real, slow HTTP server: it does not hide that the server is slow, and it checks every answer."""

import contextlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from benchmarks.bench.open_loop import OpenLoad, OpenLoop, growth
from benchmarks.load import WARM_UP
from benchmarks.published import Question
from services.core.errors import AccuracyError, ServerError
from services.numerics.agreement import Limits

SCORES = np.array([[0.25, 0.75]], np.float32)
ONE_AT_A_TIME = 0.05


class Slow(BaseHTTPRequestHandler):
    """Answers one request at a time; ``server.says`` is what it answers, once it has answered the first ones well."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.turn:  # type: ignore[attr-defined]
            time.sleep(ONE_AT_A_TIME)
            server.asked += 1  # type: ignore[attr-defined]
            good = server.asked <= WARM_UP  # type: ignore[attr-defined]
        status, scores = (200, SCORES) if good else server.says  # type: ignore[attr-defined]
        head = json.dumps({"outputs": []}).encode()
        body = head + scores.tobytes()
        self.send_response(status)
        self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.turn, server.asked, server.says = threading.Lock(), 0, (200, SCORES)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, due):
    question = Question("net", "images", "UINT8", (1, 2), struct.pack("2B", 1, 2), "scores", SCORES, Limits(1.0, 0.01, 0.01))
    task = OpenLoop("http", f"127.0.0.1:{server.server_port}", question, np.asarray(due, np.float64))
    with contextlib.closing(task.ready()) as generator:
        return generator.run(time.monotonic())


def test_time_counts_from_when_a_request_was_due(slow):
    """Ten at once of a server that takes one at a time: the last has waited for all, though it was sent at once."""
    found = ask(slow, [0.0] * 10)
    assert sorted(found.times)[-1] >= 10 * ONE_AT_A_TIME
    assert (np.sort(found.times) >= ONE_AT_A_TIME * np.arange(1, 11)).all()
    assert (found.late >= -1e-6).all()


def test_no_request_is_sent_before_it_is_due(slow):
    started = time.monotonic()
    found = ask(slow, [0.0, 0.2, 0.4])
    assert time.monotonic() - started >= 0.4
    assert (found.late >= -1e-6).all()
    assert (found.times >= ONE_AT_A_TIME).all()


def test_a_server_that_is_overloaded_has_refused_and_not_answered(slow):
    slow.says = (503, SCORES)
    assert np.isnan(ask(slow, [0.0, 0.01]).times).all()


def test_a_wrong_answer_ends_it(slow):
    slow.says = (200, SCORES[:, ::-1])
    with pytest.raises(AccuracyError, match="answered wrong"):
        ask(slow, [0.0, 0.01])


def test_a_refusal_ends_it(slow):
    slow.says = (400, SCORES)
    with pytest.raises(ServerError, match="refused a golden question"):
        ask(slow, [0.0, 0.01])


def load(grows):
    return OpenLoad(np.array([0.1]), 1.0, 0.0, offered=1, refused=0, late=0, growth=grows)


def test_a_server_falls_behind_by_what_it_lacks():
    due = np.linspace(0, 3.999, 400)
    assert growth(due, 0.02 + 0.25 * due, 4) == pytest.approx(0.25, rel=0.01)
    assert growth(due, np.full(400, 0.02), 4) == 0
    assert growth(np.array([2.0]), np.array([1.0]), 4) == 0
    assert load(0.25).saturated
    assert not load(0.01).saturated
