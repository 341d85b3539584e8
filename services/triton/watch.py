"""Does the server still give the known answers? Asked by its launcher, every few seconds.

Ready alone is not enough: a runtime that does not fit its packages answers with wrong numbers, and a Python backend that died is
still called ready. So each published version has to answer its whole golden set once, and one picture of it from then on.

Requests follow the binary tensor data extension of the KServe V2 protocol (``docs/protocol/extension_binary_data.md`` of
triton-inference-server/server).
"""

import http.client
import json
import logging
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.errors import StackError
from services.core.files import write_atomically
from services.core.hints import command
from services.core.names import image_name
from services.core.published import CONFIG, GOLDEN, VERSION
from services.images.inverse import picture_of
from services.numerics.agreement import Agreement, Limits, measure
from services.numerics.golden import Golden, load_golden
from services.triton.healthcheck import QUESTION_SECONDS
from services.triton.published import Published

log = logging.getLogger(__name__)


_NUMPY = {"FP32": np.float32, "INT64": np.int64}
RECENT_TURNS = 8
"""How many turns are looked back on."""


class Unhealthy(Exception):  # noqa: N818 - a finding, no error
    """Why the server is not healthy."""


class Spoiled(Unhealthy):
    """A question failed through no fault of the server."""


class Slow(Unhealthy):
    """No answer in time."""


@dataclass(frozen=True)
class Version(Published):
    """A published version, and what it must answer."""

    golden: Golden

    @classmethod
    def live(cls, folder: Path) -> "Version":
        """The version that a published model's folder serves; raises what ``Published.live`` does."""
        found = Published.live(folder)
        return cls(found.number, found.modified, found.card, found.record, load_golden(folder / str(found.number) / GOLDEN))


# Triton takes the second dimension of a request without rows for its rows; all requests of that batch may then be too many.
_SPOILED = re.compile(rb"batch size \d+ for .*max allowed is")


class Watcher:
    """Asks one server about one model; ``turn`` after ``turn``."""

    def __init__(self, port: int, folder: Path, verdict: Path) -> None:
        self._port, self._folder, self._verdict = port, folder, verdict
        self._proven: Version | None = None
        self._image_proven, self._image_said = False, ""
        self._row = 0
        self._failed: deque[bool] = deque(maxlen=RECENT_TURNS)

    @property
    def failures(self) -> int:
        """How many of the last turns failed; none before the server was healthy for the first time.

        Not in a row: where one of two instances died, every other question is still answered.
        """
        return sum(self._failed)

    @property
    def pause(self) -> float:
        """Seconds until the next turn: short until the server is healthy, and while it is in doubt."""
        return 5.0 if self._proven and not self.failures else 1.0 if self._proven else 0.5

    def turn(self) -> str:
        """Ask, write down the verdict, and return why the server is not healthy, or ""."""
        counts = True
        try:
            number, problem = self._ask(), ""
        except Spoiled as error:  # else anybody could have a good server ended
            number, problem, counts = 0, str(error), False
        except (Unhealthy, StackError, OSError, http.client.HTTPException, KeyError, ValueError) as error:
            number, problem = 0, str(error) or type(error).__name__
        self._failed.append(bool(problem and counts and self._proven))
        self._report(not problem, problem or f"{self._folder.name} version {number} gives the known answers")
        return problem

    def _report(self, healthy: bool, message: str) -> None:
        try:
            write_atomically(self._verdict, json.dumps({"healthy": healthy, "message": message, "time": time.time()}))
        except (StackError, OSError) as error:  # the health check will miss it; the server goes on
            log.warning("the verdict is lost: %s", error)

    def _ask(self) -> int:
        """One turn's question; returns the version that was asked."""
        name = self._folder.name
        if not (self._folder / CONFIG).exists():
            self._proven, self._image_proven = None, False  # the server is not at fault, and has to stay for the model to come back
            raise Unhealthy(
                f"{name} was taken out of service ({command('builder', 'retire')}); {command('builder', 'rollback')} serves it again"
            )
        if not self._ready(name):
            raise Unhealthy(f"model {name} is not ready")
        if self._proven is None or not self._proven.is_live(self._folder):
            version = Version.live(self._folder)
            if self._ready(f"{name}/versions/{version.number}"):
                agreement = self._answers(version, version.golden, Limits.of(version.record.accuracy.model_dump()))
                log.info("version %d: %s", version.number, agreement)
                self._proven, self._image_proven = version, False
                self._failed.clear()  # what a switch of versions may have cost says nothing of the new one
                return version.number
            if self._proven is None:
                raise Unhealthy(f"version {version.number} of {name} is not loaded")
            # Published, and not loaded yet: the version before it goes on serving.
        version, total = self._proven, len(self._proven.golden.inputs)
        row = self._row % total
        self._row += 1
        one = Golden(version.golden.inputs[row : row + 1], version.golden.scores[row : row + 1])
        limits = Limits.of(version.record.accuracy.model_dump()).of_part(1, total)
        self._answers(version, one, limits)
        self._ask_image(version, one, limits)
        return version.number

    def _ask_image(self, version: Version, one: Golden, limits: Limits) -> None:
        """The same question as a file to the model that takes files, where it is published."""
        name = image_name(self._folder.name)
        if not (self._folder.with_name(name) / CONFIG).exists():
            self._image_proven = False
            return
        try:
            if not self._ready(name):
                raise Unhealthy(f"model {name} is not ready")
            picture = picture_of(one.inputs[0], version.card.preprocessing)
            answer = self._infer(name, name, picture, {"Inference-Header-Content-Length": "0"})
        except Slow as error:  # it may have the largest pictures before it that it takes
            raise Spoiled(f"{name}: {error}") from None
        except Unhealthy as error:
            if self._image_proven:
                raise
            # The builder loads it after the model itself; and a server that cannot load it still serves the model.
            if str(error) != self._image_said:
                log.warning("pictures as files: %s", error)
            self._image_said = str(error)
            return
        scores, number = answer[version.card.output.name], int(answer[VERSION][0, 0])
        if number == version.number:  # else a switch of versions came between the two questions
            self._demand(name, measure(scores, one.scores, limits))
            self._image_proven = True

    def _answers(self, version: Version, golden: Golden, limits: Limits) -> Agreement:
        found = np.concatenate([self._scores(version, part.inputs) for part in golden.batches(version.record.max_batch)])
        agreement = measure(found, golden.scores, limits)
        self._demand(f"version {version.number}", agreement)
        return agreement

    def _demand(self, who: str, agreement: Agreement) -> None:
        if agreement.problems:
            raise Unhealthy(f"{who} gives other answers than it was proven with: {'; '.join(agreement.problems)}")

    def _ready(self, model: str) -> bool:
        return self._request("GET", f"{model}/ready")[0].status == http.client.OK

    def _scores(self, version: Version, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Scores FP32 ``[N,classes]`` of one version for ``inputs`` of the card's type."""
        data = inputs.tobytes()
        tensor = {
            "name": version.card.input.name,
            "datatype": version.card.input.dtype,
            "shape": inputs.shape,
            "parameters": {"binary_data_size": len(data)},
        }
        head = json.dumps(
            {"inputs": [tensor], "outputs": [{"name": version.card.output.name, "parameters": {"binary_data": True}}]}
        ).encode()
        headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        who, model = f"version {version.number}", f"{self._folder.name}/versions/{version.number}"
        return self._infer(who, model, head + data, headers)[version.card.output.name]

    def _infer(self, who: str, model: str, body: bytes, headers: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
        """The outputs of an answer in the binary form, by name."""
        response, answer = self._request("POST", f"{model}/infer", body, headers)
        if response.status != http.client.OK:
            kind = Spoiled if _SPOILED.search(answer) else Unhealthy
            raise kind(f"{who} refuses a known picture: {answer[:500].decode(errors='replace')}")
        start = int(response.headers["Inference-Header-Content-Length"])
        found = {}
        for output in json.loads(answer[:start])["outputs"]:
            end = start + output["parameters"]["binary_data_size"]
            found[output["name"]] = np.frombuffer(answer[start:end], _NUMPY[output["datatype"]]).reshape(output["shape"])
            start = end
        return found

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=QUESTION_SECONDS)
        try:
            connection.request(method, f"/v2/models/{path}", body, headers or {})
            response = connection.getresponse()
            return response, response.read()
        except TimeoutError:
            raise Slow(f"no answer within {QUESTION_SECONDS:g} s") from None
        except OSError as error:
            raise Unhealthy(f"nothing answers on port {self._port}: {error}") from None
        finally:
            connection.close()
