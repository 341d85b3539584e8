"""Is the configured model ready, and does it answer right? ``python3 -m services.triton.healthcheck``. Standard library only.

Ready alone is not enough: a server whose runtime does not fit its packages can answer wrong numbers. So each published
version has to give known answers, those of its ``golden.npz``, once; a marker in the temporary folder remembers it. After
that the check costs one small request. It prints one line, and ends with 0 (healthy) or 1.

Requests follow the binary tensor data extension of the KServe V2 protocol (``docs/protocol/extension_binary_data.md`` of
triton-inference-server/server), arrays the ``.npy`` format 1 (``numpy/lib/format.py``).
"""

import ast
import http.client
import json
import math
import os
import re
import struct
import sys
import tempfile
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.core.names import served_name

TIMEOUT_SECONDS = 25
MOST_EXAMPLES = 32


class Unhealthy(Exception):  # noqa: N818 - a finding, no error
    """Why the server is not healthy."""


@dataclass(frozen=True)
class Array:
    """The content of an ``.npy`` file: shape, and the elements' bytes in C order."""

    shape: tuple[int, ...]
    data: bytes

    def first(self, count: int) -> "Array":
        """The first ``count`` rows."""
        size = len(self.data) // self.shape[0]
        return Array((count, *self.shape[1:]), self.data[: count * size])


def read_npy(content: bytes) -> Array:
    """Parse an ``.npy`` file of little-endian numbers in C order."""
    (length,) = struct.unpack_from("<H", content, 8)
    header = ast.literal_eval(content[10 : 10 + length].decode("latin1"))
    if content[:7] != b"\x93NUMPY\x01" or header["fortran_order"] or header["descr"] not in ("|u1", "<f4"):
        raise Unhealthy(f"golden.npz holds an array that cannot be sent: {header}")
    return Array(tuple(header["shape"]), content[10 + length :])


def live_version(config: str) -> int:
    """The version that a ``config.pbtxt`` serves: ``version_policy { specific { versions: N } }``."""
    found = re.search(r"\bversions\s*:\s*\[?\s*(\d+)", config)
    if not found:
        raise Unhealthy("config.pbtxt names no version; run the builder again")
    return int(found[1])


class Server:
    """The HTTP endpoint of a Triton server, for one model."""

    def __init__(self, port: int, model: str) -> None:
        self._port, self._model = port, model

    def _request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        except OSError as error:
            raise Unhealthy(f"nothing answers on port {self._port}: {error}") from None
        finally:
            connection.close()

    def ready(self, version: int | None = None) -> bool:
        """Whether the model, or one version of it, is ready."""
        part = "" if version is None else f"/versions/{version}"
        return self._request("GET", f"/v2/models/{self._model}{part}/ready")[0].status == http.client.OK

    def scores(self, version: int, card: dict[str, list[dict[str, str]]], inputs: Array) -> "array[float]":
        """FP32 ``[rows, classes]`` of a batch, flat."""
        head = {
            "inputs": [
                {
                    "name": card["inputs"][0]["name"],
                    "datatype": card["inputs"][0]["dtype"],
                    "shape": inputs.shape,
                    "parameters": {"binary_data_size": len(inputs.data)},
                }
            ],
            "outputs": [{"name": card["outputs"][0]["name"], "parameters": {"binary_data": True}}],
        }
        text = json.dumps(head).encode()
        response, body = self._request(
            "POST",
            f"/v2/models/{self._model}/versions/{version}/infer",
            text + inputs.data,
            Inference_Header_Content_Length=str(len(text)),
            Content_Type="application/octet-stream",
        )
        if response.status != http.client.OK:
            raise Unhealthy(f"version {version} refused a known example: {body[:500].decode(errors='replace')}")
        return array("f", body[int(response.headers["Inference-Header-Content-Length"]) :])


def disagreement(found: Sequence[float], expected: Sequence[float], rows: int, accuracy: dict[str, float]) -> str:
    """What is wrong with scores FP32 ``[rows, classes]``, both flat; empty where they agree as well as the engine did."""
    if len(found) != len(expected):
        return f"{len(found)} scores, expected {len(expected)}"
    worst = max((math.inf if math.isnan(a) else abs(a - b)) for a, b in zip(found, expected, strict=True))
    if worst > accuracy["max_error_tolerance"]:
        return f"scores differ by {worst:.3g}, expected at most {accuracy['max_error_tolerance']:.3g}"
    classes = len(expected) // rows
    pairs = [(found[i : i + classes], expected[i : i + classes]) for i in range(0, len(expected), classes)]
    same = sum(max(range(classes), key=a.__getitem__) == max(range(classes), key=b.__getitem__) for a, b in pairs)
    if same / rows < accuracy["min_top1_agreement"]:
        return f"{same} of {rows} known examples have the right class, expected {accuracy['min_top1_agreement']:.0%}"
    return ""


def prove(server: Server, folder: Path, version: int) -> None:
    """Let a version answer its own golden examples.

    Raises:
        Unhealthy: an answer is missing or wrong.
    """
    card = json.loads((folder / "card.json").read_text())
    record = json.loads((folder / str(version) / "build.json").read_text())
    with zipfile.ZipFile(folder / str(version) / "golden.npz") as golden:
        inputs, scores = (read_npy(golden.read(f"{name}.npy")) for name in ("inputs", "scores"))
    rows = min(inputs.shape[0], record["max_batch"], MOST_EXAMPLES)
    found = server.scores(version, card, inputs.first(rows))
    problem = disagreement(found, array("f", scores.first(rows).data), rows, record["accuracy"])
    if problem:
        raise Unhealthy(f"version {version} answers wrong: {problem}")


def check(server: Server, folder: Path, marker: Path) -> None:
    """The whole check of the model published in ``folder``.

    Raises:
        Unhealthy: with the reason.
    """
    if not server.ready():
        raise Unhealthy(f"model {folder.name} is not ready")
    version = live_version((folder / "config.pbtxt").read_text())
    proof = f"{version} {(folder / str(version) / 'build.json').stat().st_mtime_ns}"
    proven = marker.read_text() if marker.exists() else ""
    if proof == proven:
        return
    if not server.ready(version):
        # Published, and not loaded yet: the version before it goes on serving.
        if proven:
            return
        raise Unhealthy(f"version {version} of {folder.name} is not loaded")
    prove(server, folder, version)
    marker.write_text(proof)


def main() -> int:
    """Print why the server is not healthy, or that it is."""
    model = served_name(os.environ.get("MODEL") or "resnet50", os.environ.get("MODEL_NAME", ""))
    folder = Path(os.environ.get("MODEL_REPOSITORY_DIR") or "model_repository") / model
    port = int(os.environ.get("HTTP_PORT") or 8000)
    try:
        check(Server(port, model), folder, Path(tempfile.gettempdir()) / f"proven-{model}-{port}")
    except (Unhealthy, OSError, http.client.HTTPException, KeyError, ValueError, zipfile.BadZipFile) as error:
        sys.stdout.write(f"unhealthy: {error}\n")
        return 1
    sys.stdout.write(f"healthy: {model} is ready and answers right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
