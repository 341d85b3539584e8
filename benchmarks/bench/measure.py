"""Rounds over all cells: engine, closed loop, library, open loop. A report can be made at any time, of what there is."""

import itertools
import logging
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks import machine
from benchmarks.bench import library, perf_analyzer
from benchmarks.bench.breakdown import PARTS, breakdown
from benchmarks.bench.engine import Engine
from benchmarks.bench.figures import MILLI, Figure, short, summary
from benchmarks.bench.open_loop import OpenLoad, open_loop
from benchmarks.bench.plan import Plan
from benchmarks.bench.rates import rates
from benchmarks.bench.served import Served
from benchmarks.load import Clients, Load
from benchmarks.published import Published, Question
from services.core.errors import ContractError, ToolError
from services.core.names import image_name

log = logging.getLogger(__name__)

PIXELS, FILES = "pixels", "files"
_TELL_SECONDS = 5

Key = tuple[Any, ...]


@dataclass
class Processor:
    """Who used the cores, over all steps: seconds, and seconds of all cores."""

    elapsed: float = 0.0
    busy: float = 0.0
    server: float = 0.0
    clients: float = 0.0

    def json(self, *, server_known: bool) -> dict[str, Any]:
        """In cores. Where the server's process cannot be seen, it is part of the other work."""
        elapsed = self.elapsed or 1.0
        return {
            "clients": round(self.clients / elapsed, 2),
            "server": round(self.server / elapsed, 2) if server_known else None,
            "other_work": round(max(0.0, self.busy - self.clients - self.server) / elapsed, 2),
        }


@dataclass
class Cells:
    """What was seen, by cell, an entry a round."""

    engine: dict[Key, list[Load]] = field(default_factory=lambda: defaultdict(list))
    closed: dict[Key, list[Load]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[Key, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    server_cores: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    open: dict[Key, list[OpenLoad]] = field(default_factory=lambda: defaultdict(list))
    library: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    perf_analyzer: dict[Key, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One cell in one round: what it is in words, and what measures it."""

    words: str
    run: Callable[[int], None]


class Measuring:
    """A published model on its server.

    Args:
        published: the model, and what it must answer.
        served: its server.
        engine: the same without a server.
        known: photographs with their scores; used where the server takes files.
        plan: what to measure.
        clients: the processes that ask.
        scratch: an empty folder.
    """

    def __init__(
        self,
        published: Published,
        served: Served,
        engine: Engine,
        known: Sequence[library.Photograph],
        plan: Plan,
        clients: Clients,
        scratch: Path,
    ) -> None:
        self._published, self._served, self._engine, self._known = published, served, engine, known
        self._plan, self._clients, self._scratch = plan, clients, scratch
        self._kinds = [PIXELS, FILES] if served.takes_files else [PIXELS]
        self._cells, self._processor = Cells(), Processor()
        self._foreign = 0
        self._notes = [note for note in (engine.note, "" if served.takes_files else "the server takes no files") if note]
        self._rounds = 0

    def rounds(self) -> Iterator[None]:
        """Measure; yields after each round. Every other one goes through the cells backwards, so that a drift is unfair to none."""
        steps = [*self._engine_steps(), *self._closed_steps(), *self._library_steps()]
        seconds = self._plan.round_seconds(len(self._kinds), engine=bool(self._engine.source))
        for number in range(1, self._plan.rounds + 1):
            if number == 1:
                count = len(steps) + len(self._kinds) * len(self._plan.protocols) * self._plan.rates
                progress = _Progress(self._plan.rounds, count, seconds)
                self._through(number, steps, progress)
                more = list(self._open_steps())  # how much to offer is known only now
                self._through(number, more, progress)
                self._beside_perf_analyzer()
                steps += more
            else:
                self._through(number, steps if number % 2 else steps[::-1], _Progress(self._plan.rounds, len(steps), seconds))
            self._rounds = number
            yield

    def _through(self, number: int, steps: Sequence[Step], progress: "_Progress") -> None:
        for step in steps:
            progress.tell(number, step.words)
            step.run(number)

    def _engine_steps(self) -> Iterator[Step]:
        most = self._published.config.max_batch_size
        for batch in self._plan.batches if self._engine.source else ():
            if batch <= most:
                yield Step(f"engine alone, batch {batch}", partial(self._time_engine, batch))

    def _time_engine(self, batch: int, _round: int) -> None:
        if not self._engine.source:
            return
        try:
            with self._watched():
                self._cells.engine[batch, self._engine.source].append(self._engine.measure(batch, self._plan.window))
        except ToolError as error:
            # As with an engine of another TensorRT version than the one here; the server has its own.
            self._notes.append(f"the engine alone was timed by the builder only: {error}")
            self._engine.source = ""

    def _ways(self) -> Iterator[tuple[str, str]]:
        return itertools.product(self._kinds, self._plan.protocols)

    def _closed_steps(self) -> Iterator[Step]:
        for (asked, protocol), number in itertools.product(self._ways(), self._plan.clients):
            words = f"closed loop, {asked}, {protocol}, {number} client{'s' * (number > 1)}"
            yield Step(words, partial(self._time_closed, (asked, protocol, number)))

    def _time_closed(self, key: Key, _round: int) -> None:
        asked, protocol, number = key
        names = [self._served.model, *([image_name(self._served.model)] if asked == FILES else [])]
        before = {}

        def begin() -> None:
            before.update({name: self._served.counters(name) for name in names})

        with self._watched() as watched:
            load = self._clients.measure(
                protocol, self._served.address(protocol), self._questions(asked, number), seconds=self._plan.window, at_start=begin
            )
            counted = [self._served.counters(name).since(before[name]) for name in names]
            watched.clients = load.client_cpu_seconds
        self._cells.closed[key].append(load)
        self._cells.parts[key].append(breakdown(float(load.times.mean()), *counted))
        if watched.server is not None:
            self._cells.server_cores[key].append(watched.server / watched.elapsed)
        self._foreign += max(0, counted[-1].requests - len(load.times))

    def _questions(self, asked: str, number: int) -> list[Question]:
        if asked == PIXELS:
            return [self._published.question(row) for row in range(number)]
        known = itertools.islice(itertools.cycle(self._known), number)
        return [library.question_of(photograph, self._published) for photograph in known]

    def _library_steps(self) -> Iterator[Step]:
        for asked, protocol in self._ways():
            words = f"client library, {asked}, {protocol}"
            yield Step(words, partial(self._time_library, (asked, protocol)))

    def _time_library(self, key: Key, _round: int) -> None:
        asked, protocol = key
        url = f"{protocol}://{self._served.address(protocol)}"
        with self._watched():
            done, elapsed = library.speed(
                url, self._published, self._known, send="file" if asked == FILES else "pixels", seconds=self._plan.seconds
            )
        self._cells.library[key].append(done / elapsed)

    def _open_steps(self) -> Iterator[Step]:
        for asked, protocol in self._ways():
            capacity = max(loads[-1].rate for key, loads in self._cells.closed.items() if key[:2] == (asked, protocol))
            for rate in rates(capacity, self._plan.rates):
                words = f"open loop, {asked}, {protocol}, {rate:g} a second"
                yield Step(words, partial(self._time_open, (asked, protocol, rate)))

    def _time_open(self, key: Key, number: int) -> None:
        asked, protocol, rate = key
        questions = self._questions(asked, max(self._plan.clients))
        with self._watched() as watched:
            address = self._served.address(protocol)
            # The same arrivals in the same round of every report, others in the next.
            load = open_loop(self._clients, protocol, address, questions, rate=rate, seconds=self._plan.seconds, seed=1000 * number)
            watched.clients = load.client_cpu_seconds
        self._cells.open[key].append(load)

    def _beside_perf_analyzer(self) -> None:
        program = perf_analyzer.find()
        for protocol, number in itertools.product(self._plan.protocols if program else (), self._plan.clients):
            try:
                self._cells.perf_analyzer[PIXELS, protocol, number] = perf_analyzer.measure(
                    program, self._served.model, protocol, self._served.address(protocol), number, self._plan.seconds, self._scratch
                )
            except (ToolError, ContractError) as error:
                self._notes.append(str(error))
                return

    def _watched(self) -> "_Watched":
        return _Watched(self._served, self._processor)

    def report(self) -> dict[str, Any]:
        """What was seen so far, by section; see ``compare.KEYS``."""
        cells = self._cells
        return {
            "rounds_done": self._rounds,
            "notes": list(self._notes),
            "requests_of_others": self._foreign,
            "processor": self._processor.json(server_known=self._served.process is not None),
            "engine": [{"batch": batch, "source": source, **summary(loads, batch)} for (batch, source), loads in cells.engine.items()],
            "closed": [self._closed_row(key, loads) for key, loads in cells.closed.items()],
            "open": [_open_row(key, loads) for key, loads in cells.open.items()],
            "library": [
                {"asked": asked, "protocol": protocol, "images_per_second": Figure.of(values).json()}
                for (asked, protocol), values in cells.library.items()
            ],
        }

    def _closed_row(self, key: Key, loads: Sequence[Load]) -> dict[str, Any]:
        row = {**dict(zip(("asked", "protocol", "clients"), key, strict=True)), **summary(loads)}
        row["stalls"] = sum(load.stalls for load in loads)
        row["client_cpu_ms"] = short(sum(load.client_cpu_seconds for load in loads) / row["requests"] * MILLI)
        if used := self._cells.server_cores.get(key):
            row["server_cores"] = round(median(used), 2)
        found = [parts for parts in self._cells.parts[key] if parts]
        row["parts_ms"] = {name: short(fmean(parts[name] for parts in found)) for name in PARTS} if found else {}
        if beside := self._cells.perf_analyzer.get(key):
            row["perf_analyzer"] = beside
        return row


def _open_row(key: Key, loads: Sequence[OpenLoad]) -> dict[str, Any]:
    row = {**dict(zip(("asked", "protocol", "rate"), key, strict=True)), **summary(loads)}
    row["offered"] = short(fmean(load.offered for load in loads))
    row["saturated"] = sum(load.saturated for load in loads) * 2 > len(loads)
    row["refused"] = sum(load.refused for load in loads)
    row["late_ms"] = short(max(load.late for load in loads) * MILLI)
    return row


class _Watched:
    """What the processor does meanwhile; ``clients`` is to be set where other processes ask."""

    def __init__(self, served: Served, total: Processor) -> None:
        self._served, self._total = served, total
        self.clients = self.elapsed = 0.0
        self.server: float | None = None

    def __enter__(self) -> "_Watched":
        self._before = time.monotonic(), machine.busy_seconds(), _here(), self._served.cpu_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        begun, busy, here, server = self._before
        self.elapsed = time.monotonic() - begun
        now = self._served.cpu_seconds()
        self.server = None if server is None or now is None else max(0.0, now - server)
        if kind is None:
            self._total.elapsed += self.elapsed
            self._total.busy += machine.busy_seconds() - busy
            self._total.clients += self.clients + _here() - here
            self._total.server += self.server or 0.0


def _here() -> float:
    """Processor time of this process, and of the programs that it ran to their end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class _Progress:
    """Says every few seconds what is measured, and how long it will take; by the pace so far once there is one."""

    def __init__(self, rounds: int, steps: int, seconds: float) -> None:
        self._rounds, self._steps, self._seconds = rounds, steps, seconds
        self._started, self._told, self._done = time.monotonic(), 0.0, 0

    def tell(self, number: int, words: str) -> None:
        """Before each step."""
        now = time.monotonic()
        # Few steps say little of the pace: the estimate weighs as much as a third of them.
        share = (now - self._started + self._seconds / 3) / (self._done + self._steps / 3)
        left = share * (self._steps - self._done) + self._seconds * (self._rounds - number)
        self._done += 1
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            log.info("round %d of %d, %d of %d: %s; about %.0f s left", number, self._rounds, self._done, self._steps, words, left)
