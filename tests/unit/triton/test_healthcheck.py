"""The health check against a small V2 server; tests/local runs it against Triton itself."""

import http.server
import io
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from services.triton.healthcheck import Server, Unhealthy, check, disagreement, live_version, read_npy

ACCURACY = {"max_error_tolerance": 0.01, "min_top1_agreement": 1.0}
INPUTS = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
SCORES = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("array", [INPUTS, SCORES], ids=["uint8", "float32"])
def test_npy_files_of_numpy_are_read(array):
    found = read_npy(npy(array))
    assert found.shape == array.shape
    assert found.first(2).shape == (2, *array.shape[1:])
    assert found.first(2).data == array[:2].tobytes()


@pytest.mark.parametrize("array", [SCORES.astype(np.float64), np.asfortranarray(SCORES)], ids=["float64", "fortran"])
def test_arrays_that_cannot_be_sent_are_refused(array):
    with pytest.raises(Unhealthy, match="cannot be sent"):
        read_npy(npy(array))


@pytest.mark.parametrize(
    "text", ["version_policy {\n  specific {\n    versions: 12\n  }\n}\n", "version_policy { specific { versions: [ 12 ] } }"]
)
def test_live_version(text):
    assert live_version(f'name: "m"\nmax_batch_size: 8\n{text}') == 12


def test_a_config_without_a_version_is_refused():
    with pytest.raises(Unhealthy, match="no version"):
        live_version('name: "m"')


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([0.1, 0.9, 0.8, 0.2], ""),
        ([0.105, 0.895, 0.8, 0.2], ""),
        ([0.1, 0.8, 0.8, 0.2], "differ by 0.1"),
        ([0.1, float("nan"), 0.8, 0.2], "differ by inf"),
        ([0.1, 0.9], "2 scores, expected 4"),
    ],
)
def test_disagreement(found, problem):
    said = disagreement(found, [0.1, 0.9, 0.8, 0.2], 2, ACCURACY)
    assert problem in said
    assert bool(said) == bool(problem)


def test_a_wrong_class_counts_even_within_the_tolerance():
    assert "1 of 2 known examples" in disagreement([0.501, 0.499, 1.0, 0.0], [0.499, 0.501, 1.0, 0.0], 2, ACCURACY)
    assert not disagreement([0.501, 0.499, 1.0, 0.0], [0.499, 0.501, 1.0, 0.0], 2, ACCURACY | {"min_top1_agreement": 0.5})


@pytest.fixture
def folder(tmp_path):
    """A published model, version 3."""
    folder = tmp_path / "m"
    (folder / "3").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("version_policy { specific { versions: 3 } }")
    (folder / "card.json").write_text(json.dumps({"inputs": [{"name": "images", "dtype": "UINT8"}], "outputs": [{"name": "scores"}]}))
    (folder / "3" / "build.json").write_text(json.dumps({"max_batch": 3, "accuracy": ACCURACY}))
    np.savez(folder / "3" / "golden.npz", inputs=INPUTS, scores=SCORES)
    return folder


@pytest.fixture
def triton():
    """A V2 server that answers the golden scores; ``ready`` and ``error`` can be changed, ``asked`` holds the requests."""
    state = SimpleNamespace(ready={"/v2/models/m/ready", "/v2/models/m/versions/3/ready"}, error=0.0, asked=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in state.ready else 400)
            self.end_headers()

        def do_POST(self):
            head = int(self.headers["Inference-Header-Content-Length"])
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = json.loads(body[:head])
            state.asked.append((self.path, request["inputs"][0], body[head:]))
            answer = json.dumps({"outputs": []}).encode()
            rows = request["inputs"][0]["shape"][0]
            self.send_response(200)
            self.send_header("Inference-Header-Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer + (SCORES[:rows] + np.float32(state.error)).tobytes())

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.client = Server(server.server_port, "m")
        yield state
        server.shutdown()
        thread.join()


def test_a_version_is_asked_once(triton, folder, tmp_path):
    for _ in range(2):
        check(triton.client, folder, tmp_path / "marker")
    ((path, tensor, data),) = triton.asked
    assert path == "/v2/models/m/versions/3/infer"
    assert tensor["shape"] == [3, 2, 2, 3]
    assert data == INPUTS[:3].tobytes()


def test_a_wrong_answer_is_unhealthy_every_time(triton, folder, tmp_path):
    triton.error = 0.5
    for _ in range(2):
        with pytest.raises(Unhealthy, match=r"version 3 answers wrong: scores differ by 0\.5"):
            check(triton.client, folder, tmp_path / "marker")


def test_a_version_that_is_built_again_has_to_prove_itself_again(triton, folder, tmp_path):
    check(triton.client, folder, tmp_path / "marker")
    (folder / "3" / "build.json").write_text(json.dumps({"max_batch": 1, "accuracy": ACCURACY}))
    triton.error = 0.5
    with pytest.raises(Unhealthy):
        check(triton.client, folder, tmp_path / "marker")


def test_a_published_version_that_is_not_loaded_yet_leaves_a_proven_server_healthy(triton, folder, tmp_path):
    triton.ready = {"/v2/models/m/ready"}
    with pytest.raises(Unhealthy, match="version 3 of m is not loaded"):
        check(triton.client, folder, tmp_path / "marker")
    (tmp_path / "marker").write_text("2 0")
    check(triton.client, folder, tmp_path / "marker")
    assert not triton.asked


def test_a_model_that_is_not_ready_and_a_server_that_is_not_there_are_told_apart(triton, folder, tmp_path):
    triton.ready = set()
    with pytest.raises(Unhealthy, match="model m is not ready"):
        check(triton.client, folder, tmp_path / "marker")
    with pytest.raises(Unhealthy, match="nothing answers on port 1:"):
        check(Server(1, "m"), folder, tmp_path / "marker")
