"""A published model, and a small V2 server that answers for it; tests/local has Triton itself."""

import http.server
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from services.core.card import Source
from services.core.files import sha256_of
from services.core.published import CARD, CONFIG, GOLDEN, LABELS, RECORD
from services.core.record import Accuracy, BuildRecord, Compiler, Hardware

INPUTS = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
SCORES = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)


@pytest.fixture
def publish(tmp_path, make_card):
    """Publishes a version of the model ``m``; what the record says of accuracy and compiler can be chosen."""
    folder = tmp_path / "repository" / "m"

    def make(number=3, *, compiler=("onnxruntime", "1.32.0"), max_batch=3, max_error=0.01, top1=1.0):
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        accuracy = Accuracy(
            samples=len(INPUTS),
            top1_agreement=1.0,
            max_error=0.0,
            mean_error=0.0,
            min_top1_agreement=top1,
            max_error_tolerance=max_error,
            mean_error_tolerance=max_error,
        )
        np.savez(own / GOLDEN, inputs=INPUTS, scores=SCORES)
        (own / LABELS).write_text("no\nyes\n")
        (own / "model.onnx").write_bytes(b"an engine")
        made = make_card(size=2, classes=2)
        golden = made.golden.model_copy(update={"sha256": sha256_of(own / GOLDEN)})
        made.model_copy(update={"golden": golden, "labels_sha256": sha256_of(own / LABELS)}).dump(own / CARD)
        record = BuildRecord(
            model="m",
            engine_fingerprint="e",
            publication_fingerprint="p",
            card_sha256=sha256_of(own / CARD),
            source=Source(model="m", weights="default", weights_sha256="w"),
            precision="fp32",
            compiler=Compiler(name=compiler[0], version=compiler[1]),
            hardware=Hardware(device="cpu"),
            max_batch=max_batch,
            engine_file="model.onnx",
            engine_sha256=sha256_of(own / "model.onnx"),
            engine_bytes=1,
            accuracy=accuracy,
            created="2026-11-24T12:00:00Z",
        )
        record.dump(own / RECORD)
        (folder / CONFIG).write_text(f"version_policy {{ specific {{ versions: {number} }} }}")
        return folder

    return make


class V2Server(http.server.ThreadingHTTPServer):
    """Answers the golden scores of the versions in ``ready``, off by ``error``, or refuses with a reason."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ready, self.error, self.refuses = ready(3), 0.0, ""
        self.image_error = 0.0  # of the model that takes files, on top
        self.asked = []  # path and rows of each question

    @property
    def port(self):
        return self.server_port


class _Handler(http.server.BaseHTTPRequestHandler):
    server: V2Server

    def do_GET(self):
        self._answer(200 if self.path in self.server.ready else 400, b"")

    def do_POST(self):
        head = int(self.headers["Inference-Header-Content-Length"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if head:
            tensor = json.loads(body[:head])["inputs"][0]
            rows = np.frombuffer(body[head:], np.uint8).reshape(tensor["shape"])
        else:
            rows = np.asarray(Image.open(io.BytesIO(body)))[np.newaxis, 1:3, 1:3]  # the crop of 2 from 4 x 4
        self.server.asked.append((self.path, rows))
        if self.server.refuses:
            self._answer(500, self.server.refuses.encode())
            return
        scores = SCORES[[int(np.flatnonzero((row == INPUTS).all(axis=(1, 2, 3)))[0]) for row in rows]] + np.float32(self.server.error)
        tensors = {"scores": scores} if head else {"scores": scores + np.float32(self.server.image_error), "version": np.array([[3]])}
        outputs = [
            {
                "name": name,
                "datatype": {"float32": "FP32", "int64": "INT64"}[str(tensor.dtype)],
                "shape": tensor.shape,
                "parameters": {"binary_data_size": tensor.nbytes},
            }
            for name, tensor in tensors.items()
        ]
        answer = json.dumps({"outputs": outputs}).encode()
        self._answer(200, answer + b"".join(tensor.tobytes() for tensor in tensors.values()), len(answer))

    def _answer(self, status, body, head=0):
        self.send_response(status)
        self.send_header("Inference-Header-Content-Length", str(head))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def triton():
    """A server that runs."""
    with V2Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ready(*versions):
    """The addresses that say that the model, in these versions, is ready."""
    return {"/v2/models/m/ready", *(f"/v2/models/m/versions/{number}/ready" for number in versions)}
