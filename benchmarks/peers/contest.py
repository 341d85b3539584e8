"""Rounds over the servers: each is started afresh, asked, measured and ended, so that none disturbs another."""

import contextlib
import functools
import itertools
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from google.protobuf import text_format

from benchmarks import machine
from benchmarks.load import Clients, Connect, Load
from benchmarks.peers import wire
from benchmarks.peers.entrants import Peer, Setting, Start
from benchmarks.peers.process import Family, cpu_seconds, running, wait
from benchmarks.peers.wire import Picture, wire_bytes
from benchmarks.pictures import Bare
from benchmarks.published import Published
from benchmarks.report import Cell
from benchmarks.server import free_ports, serve
from services.core.errors import AccuracyError, ServerError
from services.core.names import image_name
from services.core.published import CONFIG, LABELS, RECORD
from services.images.decode import decode
from services.images.preprocess import input_from_image

log = logging.getLogger(__name__)

OURS = "ours-http"
LIMIT = "limit"
_WARM_SECONDS, _PAUSE_SECONDS = 1.0, 5.0
_QUIET_CORES = 0.2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entrant:
    """A server that takes part: how to start it, and how to ask it. Starting gives its address."""

    name: str
    title: str
    connect: Connect
    start: Callable[[], AbstractContextManager[str]]
    setting: str = ""


@dataclass
class Seen:
    """Of one entrant; the loads by size and clients, an entry a round. ``others``: cores that something else had meanwhile, by cell."""

    loads: dict[tuple[str, int], list[Load]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    wire: dict[str, int] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)


def right_labels(bare: Bare, published: Published, file: bytes, least: float) -> frozenset[str]:
    """What may be found in a picture: labels that score at least ``least`` of the best, with exact pixels and the graph in FP32."""
    pixels = input_from_image(decode(file), published.card.preprocessing)
    scores = bare.scores(pixels[None])[0]
    return frozenset(label for label, score in zip(labels(published), scores, strict=True) if score >= least * scores.max())


def labels(published: Published) -> tuple[str, ...]:
    """All of them, in order."""
    return tuple((published.version / LABELS).read_text().splitlines())


@contextlib.contextmanager
def peer_server(peer: Peer, python: Path, model: Path, setting: Setting, spinning: bool, picture: Picture) -> Iterator[str]:
    """A peer, ready; gives its address.

    Raises:
        ServerError: it does not get ready.
        AccuracyError: it answers wrong.
    """
    with tempfile.TemporaryDirectory(prefix=f"peer-{peer.name}-", ignore_cleanup_errors=True) as scratch:
        start = Start(python.parent, free_ports(3), Path(scratch), setting)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PEER_", "PYTHON", "VIRTUAL_ENV"))},
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path.cwd()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": scratch,
            "PEER_MODEL": str(model),
            "PEER_PORT": str(start.ports[0]),
            **setting.variables(machine.cores(), spinning),
            **peer.variables(start),
        }
        log_file = Path(scratch) / "server.log"
        address = f"127.0.0.1:{start.ports[0]}"
        with running([str(word) for word in peer.command(start)], environment, Path(scratch), log_file) as process:
            wait(process, peer.client(setting), address, picture, log_file)
            yield address


@contextlib.contextmanager
def our_server(published: Published, protocol: str, *, images: bool, batching: bool = True) -> Iterator[str]:
    """This product's, ready; gives the address of a protocol.

    Args:
        published: the model.
        protocol: ``http`` or ``grpc``.
        images: also the model beside it that takes files.
        batching: as published; else without, as the tutorial has it.
    """
    name = published.folder.name
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        repository = Path(scratch) / "repository"
        for one in (name, image_name(name)) if images else (name,):
            shutil.copytree(published.folder.with_name(one), repository / one)
        if not batching:
            config = type(published.config)()
            config.CopyFrom(published.config)
            config.ClearField("dynamic_batching")
            (repository / name / CONFIG).write_text(text_format.MessageToString(config))
        family = Family()
        try:
            with serve(repository, image_name(name) if images else name) as server:
                yield server.http if protocol == "http" else server.grpc
        finally:
            family.end()


def ours(published: Published) -> list[Entrant]:
    """This product, over HTTP and over gRPC."""
    name, output, names = image_name(published.folder.name), published.config.output[0].name, labels(published)
    precision = json.loads((published.version / RECORD).read_text())["precision"]

    def entrant(title: str, name: str, protocol: str, connect: Connect) -> Entrant:
        return Entrant(name, f"**this product**, {title}", connect, lambda: our_server(published, protocol, images=True), precision)

    return [
        entrant("HTTP", OURS, "http", wire.OursHttp(name, output, names)),
        entrant("gRPC", "ours-grpc", "grpc", wire.OursGrpc(name, output, names)),
    ]


def tutorial(published: Published, *, batching: bool) -> Entrant:
    """The tutorial's client, and a model as it has it."""
    config = published.config
    client = wire.Tutorial(config.name, config.input[0].name, config.output[0].name, config.output[0].dims[0], published.card.preprocessing)
    return Entrant(
        "tutorial", "the tutorial's client, Triton", client, lambda: our_server(published, "http", images=False, batching=batching)
    )


class Contest:
    """One comparison: the entrants, and what is known of them so far."""

    def __init__(self, entrants: Sequence[Entrant], limit: Bare, pictures: dict[str, list[Picture]], clients: Sequence[int]) -> None:
        self._entrants = list(entrants)
        self._limit, self._pictures, self._clients = limit, pictures, clients
        self._seen = {entrant.name: Seen() for entrant in entrants}
        self._limits: dict[str, list[float]] = {size: [] for size in pictures}
        self.failed: dict[str, str] = {}

    def round(self, number: int, processes: Clients, seconds: float, tries: int) -> None:
        """Measure everyone once; every other round in the opposite order.

        Args:
            number: of the round, from 1.
            processes: the clients.
            seconds: of each measurement.
            tries: of each measurement, where something else ran meanwhile.
        """
        for entrant in self._entrants[:: 1 if number % 2 else -1]:
            if entrant.name not in self.failed:
                log.info("round %d: %s", number, entrant.title.replace("*", ""))
                try:
                    measure(entrant, self._seen[entrant.name], self._pictures, self._clients, processes, seconds, tries)
                except (ServerError, AccuracyError) as error:
                    log.warning("%s is out: %s", entrant.title, error)
                    self.failed[entrant.name] = str(error)
        for size, pictures in self._pictures.items():
            files = [picture.file for picture in pictures]
            rate, _ = undisturbed(functools.partial(self._limit.pipelined, files, seconds), tries)
            self._limits[size].append(round(rate, 1))

    def report(self) -> dict[str, Any]:
        """Everything, for JSON; an entrant that failed is left out of the rows."""
        rows = [
            row(entrant, self._seen[entrant.name], self._seen[OURS], size, number)
            for size in self._pictures
            for entrant in self._entrants
            for number in self._clients
            if entrant.name not in self.failed
        ]
        limits = {size: {"rate": round(median(rates), 1), "rates": rates} for size, rates in self._limits.items()}
        titles = {entrant.name: entrant.title for entrant in self._entrants}
        return {
            "rows": rows,
            "limits": limits,
            "others": [busy for seen in self._seen.values() for busy in seen.others],
            "failed": {titles[name]: reason for name, reason in self.failed.items()},
        }


def row(entrant: Entrant, seen: Seen, ours: Seen, size: str, clients: int) -> dict[str, Any]:
    """One entrant, size and number of clients; ratios to this product over HTTP are those of one round each."""
    loads = seen.loads[size, clients]
    ratios = [load.rate / ours_load.rate for load, ours_load in zip(loads, ours.loads[size, clients], strict=False)]
    return {
        "name": entrant.name,
        "title": entrant.title,
        "setting": entrant.setting,
        "size": size,
        "clients": clients,
        **Cell(loads).served(),
        "ratio": round(median(ratios), 3) if ratios else math.nan,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "memory_mb": round(median(seen.memory) / 1e6),
        "wire_bytes": seen.wire[size],
    }


def measure(
    entrant: Entrant, seen: Seen, pictures: dict[str, list[Picture]], numbers: Sequence[int], processes: Clients, seconds: float, tries: int
) -> None:
    """Start a server, warm it up, ask it in every size by every number of clients, and end it; see ``undisturbed``.

    Raises:
        ServerError: it does not start, or refuses.
        AccuracyError: it answers wrong.
    """
    family = Family()
    found: dict[tuple[str, int], Load] = {}
    with entrant.start() as address:
        for size, asked in pictures.items():
            seen.wire[size] = round(sum(wire_bytes(entrant.connect, address, picture) for picture in asked) / len(asked))
            processes.measure(entrant.connect, address, _for_all(asked, max(numbers)), seconds=_WARM_SECONDS, warm_up=1)
            for number in numbers:
                cell = functools.partial(processes.measure, entrant.connect, address, _for_all(asked, number), seconds=seconds, warm_up=1)
                found[size, number], others = undisturbed(cell, tries)
                seen.others.append(others)
        seen.memory.append(family.memory())
    for key, load in found.items():
        seen.loads.setdefault(key, []).append(load)


def _for_all(pictures: Sequence[Picture], number: int) -> list[Picture]:
    return list(itertools.islice(itertools.cycle(pictures), number))


def undisturbed(cell: Callable[[], Result], tries: int) -> tuple[Result, float]:
    """Measure a cell again, ``tries`` times in all, where something else ran; the least disturbed, and how many cores the others had.

    Whether it counts depends on what else ran and not on what came out.
    """
    best: tuple[Result, float] | None = None
    for number in range(tries):
        if number:
            time.sleep(_PAUSE_SECONDS)
        busy, own, start = machine.busy_seconds(), cpu_seconds(), time.monotonic()
        result = cell()
        others = (machine.busy_seconds() - busy - (cpu_seconds() - own)) / (time.monotonic() - start)
        if best is None or others < best[1]:
            best = result, round(max(0.0, others), 2)
        if best[1] <= _QUIET_CORES:
            break
        log.info("something else had %.1f cores", others)
    assert best is not None  # noqa: S101 - there is at least one try
    return best


def score(seen: Seen) -> float:
    """What a setting is judged by: the geometric mean of its rates over all sizes and numbers of clients."""
    rates = [load.rate for loads in seen.loads.values() for load in loads]
    return math.exp(sum(map(math.log, rates)) / len(rates))
