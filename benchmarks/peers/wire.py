"""How each server is asked: what a client of it sends, and where the label stands in its answer.

Every client sends a picture that was read beforehand; only the tutorial's decodes it, for there the client does. A request is made
once, as in ``benchmarks.load``; what is counted as sent and received are the bodies of HTTP and the messages of gRPC.
"""

import base64
import http.client
import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.http
from PIL import Image

from benchmarks.load import TIMEOUT_SECONDS, Client, Connect, GrpcClient
from benchmarks.peers.classifier import centre
from benchmarks.published import Question
from services.core.card import Preprocessing
from services.core.errors import AccuracyError, ServerError
from services.core.published import ENCODED
from services.numerics.agreement import Limits

_BOUNDARY = "a-line-that-no-picture-has"
_NO_LIMITS = Limits(0, 0, 0)

Decode = Callable[[bytes, Mapping[str, str]], str]
"""The label in a response: its body, and its headers in small letters."""


@dataclass(frozen=True)
class Picture:
    """A JPEG file and the labels that may be found in it."""

    file: bytes
    labels: frozenset[str]

    def check(self, answer: bytes) -> None:
        """Compare a label.

        Raises:
            AccuracyError: it is another.
        """
        if (found := answer.decode()) not in self.labels:
            raise AccuracyError(f"a server answered {found!r}, expected {' or '.join(sorted(self.labels))}")


class WireClient(Client):
    """A client that knows how many bytes an exchange took."""

    sent = 0

    def bytes_of(self, response: bytes) -> int:
        """Both ways, of the last exchange."""
        return self.sent + len(response)


class PostClient(WireClient):
    """Posts the same body again and again over one keep-alive connection."""

    def __init__(self, address: str, path: str, body: bytes, headers: Mapping[str, str], decode: Decode) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        self._address, self._path, self._body, self._headers, self._decode = address, path, body, headers, decode
        self._received: Mapping[str, str] = {}
        self.sent = len(body)

    def exchange(self) -> bytes:
        """Send the request and return the body of the response.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        try:
            self._connection.request("POST", self._path, self._body, dict(self._headers))
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{self._address} does not answer over HTTP: {error}") from None
        if response.status != http.client.OK:
            said = body[:500].decode(errors="replace")
            raise ServerError(f"{self._address}{self._path} answered {response.status} to a picture: {said}")
        self._received = {name.lower(): value for name, value in response.headers.items()}
        return body

    def answer(self, response: bytes) -> bytes:
        """The label, UTF-8."""
        return self._decode(response, self._received).encode()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def label_of_json(body: bytes, _headers: Mapping[str, str]) -> str:
    """Of ``{"label": …}``, or of a list of one."""
    found = json.loads(body)
    return str((found[0] if isinstance(found, list) else found)["label"])


def label_of_kserve(body: bytes, _headers: Mapping[str, str]) -> str:
    """Of a response of the KServe V2 protocol with one output, a label."""
    return str(json.loads(body)["outputs"][0]["data"][0])


def post_file(address: str, picture: Picture) -> Client:
    """The file is the body."""
    return PostClient(address, "/classify", picture.file, {"Content-Type": "image/jpeg"}, label_of_json)


def post_form(address: str, picture: Picture) -> Client:
    """The file is the only one of a form."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="0.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head.encode() + picture.file + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return PostClient(address, "/classify", body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}, label_of_json)


def post_base64(address: str, picture: Picture) -> Client:
    """The file as base64 in an object of JSON."""
    body = json.dumps({"image": base64.b64encode(picture.file).decode()}).encode()
    return PostClient(address, "/predict", body, {"Content-Type": "application/json"}, label_of_json)


def post_torchserve(address: str, picture: Picture) -> Client:
    """The file is the body; the path is TorchServe's."""
    return PostClient(address, "/predictions/pictures", picture.file, {"Content-Type": "image/jpeg"}, label_of_json)


def post_kserve(address: str, picture: Picture) -> Client:
    """The file as base64 in the KServe V2 protocol, as MLServer wants it."""
    tensor = {"name": "picture", "datatype": "BYTES", "shape": [1, 1], "parameters": {"content_type": "base64"}}
    body = json.dumps({"inputs": [{**tensor, "data": [base64.b64encode(picture.file).decode()]}]}).encode()
    return PostClient(address, "/v2/models/pictures/infer", body, {"Content-Type": "application/json"}, label_of_kserve)


@dataclass(frozen=True)
class OursHttp:
    """``<model>_image``: the file is the body, the answer a line of JSON and the scores as binary FP32."""

    model: str
    output: str
    labels: tuple[str, ...]

    def __call__(self, address: str, picture: Picture) -> Client:
        """Connect."""
        headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
        return PostClient(address, f"/v2/models/{self.model}/infer", picture.file, headers, self._label)

    def _label(self, body: bytes, headers: Mapping[str, str]) -> str:
        length = int(headers["inference-header-content-length"])
        start = 0
        for output in json.loads(body[:length])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            if output["name"] == self.output:
                return self.labels[int(np.frombuffer(body, np.float32, size // 4, length + start).argmax())]
            start += size
        raise ServerError(f"{self.model} answered without scores")


@dataclass(frozen=True)
class OursGrpc:
    """``<model>_image`` over gRPC."""

    model: str
    output: str
    labels: tuple[str, ...]

    def __call__(self, address: str, picture: Picture) -> Client:
        """Connect."""
        data = struct.pack("<I", len(picture.file)) + picture.file
        question = Question(self.model, ENCODED, "BYTES", (1, 1), data, self.output, np.empty(0), _NO_LIMITS)
        return _GrpcLabels(address, question, self.labels)


class _GrpcLabels(GrpcClient, WireClient):
    def __init__(self, address: str, question: Question, labels: tuple[str, ...]) -> None:
        super().__init__(address, question)
        self._labels = labels
        self.sent = len(self._request)

    def answer(self, response: bytes) -> bytes:
        """The label, UTF-8."""
        return self._labels[int(np.frombuffer(super().answer(response), np.float32).argmax())].encode()


@dataclass(frozen=True)
class Tutorial:
    """NVIDIA's tutorial: the client decodes with Pillow, normalises with numpy, sends FP32, and asks for all classes as text."""

    model: str
    input: str
    output: str
    classes: int
    preprocessing: Preprocessing

    def __call__(self, address: str, picture: Picture) -> Client:
        """Connect."""
        return _TutorialClient(address, self, picture)


class _TutorialClient(WireClient):
    def __init__(self, address: str, asked: Tutorial, picture: Picture) -> None:
        self._client = tritonclient.http.InferenceServerClient(address, connection_timeout=TIMEOUT_SECONDS, network_timeout=TIMEOUT_SECONDS)
        self._asked, self._file, self._address = asked, picture.file, address

    def exchange(self) -> bytes:
        """Decode, send, and return the classes as lines of ``score:index:label``.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        pixels = tutorial_pixels(self._file, self._asked.preprocessing)
        tensor = tritonclient.http.InferInput(self._asked.input, pixels.shape, "FP32")
        tensor.set_data_from_numpy(pixels, binary_data=True)
        output = tritonclient.http.InferRequestedOutput(self._asked.output, binary_data=True, class_count=self._asked.classes)
        self.sent = pixels.nbytes
        try:
            answer = self._client.infer(self._asked.model, inputs=[tensor], outputs=[output]).as_numpy(self._asked.output)
        except Exception as error:  # geventhttpclient's own, and tritonclient's
            raise ServerError(f"{self._address} does not answer the tutorial's client: {error}") from None
        return b"\n".join(answer.ravel())

    def bytes_of(self, response: bytes) -> int:
        """Pixels and classes, each class with its length."""
        return self.sent + len(response) + 3 * self._asked.classes + 1

    def answer(self, response: bytes) -> bytes:
        """The label of the first, UTF-8."""
        return response.partition(b"\n")[0].split(b":", 2)[2]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def tutorial_pixels(file: bytes, told: Preprocessing) -> np.ndarray[Any, np.dtype[np.float32]]:
    """FP32 ``[1, 3, crop, crop]``, normalised: ``(pixel / 255 - mean) / std``."""
    cropped = centre(Image.open(io.BytesIO(file)), told.resize, told.crop, told.interpolation)
    normalised = (np.asarray(cropped, np.float32) / 255 - np.array(told.mean, np.float32)) / np.array(told.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis])


def wire_bytes(connect: Connect, address: str, picture: Picture) -> int:
    """What one exchange sends and receives."""
    client = connect(address, picture)
    try:
        response = client.exchange()
        return client.bytes_of(response) if isinstance(client, WireClient) else len(response)
    finally:
        client.close()
