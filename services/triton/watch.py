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

from services.core.card import ModelCard
from services.core.errors import StackError
from services.core.files import write_atomically
from services.core.hints import command
from services.core.published import CARD, CONFIG, GOLDEN, RECORD, live_version
from services.core.record import BuildRecord
from services.numerics.agreement import Agreement, Limits, measure
from services.numerics.golden import Golden, load_golden
from services.triton.healthcheck import QUESTION_SECONDS

log = logging.getLogger(__name__)


RECENT_TURNS = 8
"""How many turns are looked back on."""


class Unhealthy(Exception):  # noqa: N818 - a finding, no error
    """Why the server is not healthy."""


class Spoiled(Unhealthy):
    """A question failed through no fault of the server."""


# Triton takes the second dimension of a request without rows for its rows; all requests of that batch may then be too many.
_SPOILED = re.compile(rb"batch size \d+ for .*max allowed is")


@dataclass(frozen=True)
class Version:
    """A published version, and what it must answer."""

    number: int
    modified: int
    card: ModelCard
    record: BuildRecord
    golden: Golden

    @classmethod
    def live(cls, folder: Path) -> "Version":
        """The version that a published model's folder serves.

        Raises:
            ContractError: something is missing or damaged.
            OSError: the folder cannot be read.
        """
        number = live_version((folder / CONFIG).read_text())
        own = folder / str(number)
        modified = (own / RECORD).stat().st_mtime_ns
        return cls(number, modified, ModelCard.load(own / CARD), BuildRecord.load(own / RECORD), load_golden(own / GOLDEN))

    def is_live(self, folder: Path) -> bool:
        """Whether the folder still serves it, and nobody built it anew."""
        number = live_version((folder / CONFIG).read_text())
        return number == self.number and (folder / str(number) / RECORD).stat().st_mtime_ns == self.modified


class Watcher:
    """Asks one server about one model; ``turn`` after ``turn``."""

    def __init__(self, port: int, folder: Path, verdict: Path) -> None:
        self._port, self._folder, self._verdict = port, folder, verdict
        self._proven: Version | None = None
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
            self._proven = None  # the server is not at fault, and has to stay for the model to come back
            raise Unhealthy(
                f"{name} was taken out of service ({command('builder', 'retire')}); {command('builder', 'rollback')} serves it again"
            )
        if not self._ready():
            raise Unhealthy(f"model {name} is not ready")
        if self._proven is None or not self._proven.is_live(self._folder):
            version = Version.live(self._folder)
            if self._ready(version.number):
                agreement = self._answers(version, version.golden, Limits.of(version.record.accuracy.model_dump()))
                log.info("version %d: %s", version.number, agreement)
                self._proven = version
                self._failed.clear()  # what a switch of versions may have cost says nothing of the new one
                return version.number
            if self._proven is None:
                raise Unhealthy(f"version {version.number} of {name} is not loaded")
            # Published, and not loaded yet: the version before it goes on serving.
        version, total = self._proven, len(self._proven.golden.inputs)
        row = self._row % total
        self._row += 1
        one = Golden(version.golden.inputs[row : row + 1], version.golden.scores[row : row + 1])
        self._answers(version, one, Limits.of(version.record.accuracy.model_dump()).of_part(1, total))
        return version.number

    def _answers(self, version: Version, golden: Golden, limits: Limits) -> Agreement:
        found = np.concatenate([self._scores(version, part.inputs) for part in golden.batches(version.record.max_batch)])
        agreement = measure(found, golden.scores, limits)
        if agreement.problems:
            raise Unhealthy(f"version {version.number} gives other answers than it was proven with: {'; '.join(agreement.problems)}")
        return agreement

    def _ready(self, version: int | None = None) -> bool:
        part = "" if version is None else f"/versions/{version}"
        return self._request("GET", f"{part}/ready")[0].status == http.client.OK

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
        response, body = self._request("POST", f"/versions/{version.number}/infer", head + data, headers)
        if response.status != http.client.OK:
            kind = Spoiled if _SPOILED.search(body) else Unhealthy
            raise kind(f"version {version.number} refuses a known picture: {body[:500].decode(errors='replace')}")
        scores = np.frombuffer(body[int(response.headers["Inference-Header-Content-Length"]) :], np.float32)
        return scores.reshape(len(inputs), -1)

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=QUESTION_SECONDS)
        try:
            connection.request(method, f"/v2/models/{self._folder.name}{path}", body, headers or {})
            response = connection.getresponse()
            return response, response.read()
        except OSError as error:
            raise Unhealthy(f"nothing answers on port {self._port}: {error}") from None
        finally:
            connection.close()
