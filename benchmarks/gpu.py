"""What the served model reaches on one NVIDIA GPU, against its engine alone, and PyTorch as the yardstick. No network.

  python -m benchmarks.gpu model_repository/resnet50 --json gpu.json

Alone, one batch after the other: the published engine in this process, host memory in and out; the same architecture in PyTorch (FP16,
channels last, CUDA graphs, random weights); and decoding, on the GPU and on the CPU with a thread for each core. Served, by a server of
the benchmark's own: pixels to <model>, JPEG files to <model>_image. Ratios are to the best batch of the engine alone in the same round.
A model published for a CPU is measured there, and what needs a GPU is left out. A table in Markdown goes to stdout, progress to stderr.
Every answer is compared: of pixels with the golden set, of files with what the engine alone says of them; a wrong one ends the run.
"""

import argparse
import contextlib
import itertools
import logging
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import machine
from benchmarks.bare import ON_GPU, bare, engine
from benchmarks.load import PROTOCOLS, Clients, Load, repeat
from benchmarks.pictures import photographs, variants_command_line, write
from benchmarks.published import Published, Question
from benchmarks.report import Cell, head, heading, save
from benchmarks.server import Server, serve
from benchmarks.torch_graphs import TorchGraphs
from services.core import log as logs
from services.core import stage
from services.core.errors import ImageError, SettingsError
from services.core.names import image_name
from services.core.settings import BuilderSettings
from services.triton.dali import Dali
from services.triton.decoder import Decoder, Picture
from services.triton.gpu_decoder import GpuDecoder

log = logging.getLogger(__name__)

PIXELS, ENGINE = "pixels", "engine alone"
TORCH = {False: "PyTorch {}, pixels on the GPU", True: "PyTorch {}, pixels from pinned host memory"}
_PACKAGES = (*machine.PACKAGES, "torch", "torchvision", "nvidia-dali-cuda120", "nvidia-dali-cuda130")
# Seconds that getting ready for a measurement, and starting a server, take; for the estimate.
_SLACK = 3
"""Which part of the GPU decodes a file depends on the batch that it is in, and random weights make much of little."""
_MEASURE_SECONDS, _SERVER_SECONDS = 0.3, 12

Alone = tuple[str, int]
"""What, and its batch."""
Served = tuple[str, str, str, int, int]
"""Variant, what is sent, protocol, clients, pictures a request."""


def _cpu_decoder() -> Decoder:
    settings = BuilderSettings()
    return Decoder(machine.cores(), settings.max_pixels, settings.max_image_bytes)


def _gpu_decoder() -> GpuDecoder:
    return GpuDecoder(_cpu_decoder(), Dali(0, machine.cores()), log.warning)


class Comparison:
    """Rounds over everything alone and everything served; every other one goes the other way round, so that a drift is unfair to none."""

    def __init__(self, published: Published, options: argparse.Namespace) -> None:
        self._published, self._options = published, options
        self._record = published.record
        self._gpu = self._record.compiler.name == ON_GPU
        self._run = engine(published)
        self._decoders: dict[str, Decoder | GpuDecoder] = {"CPU": _cpu_decoder()} | ({"GPU": _gpu_decoder()} if self._gpu else {})
        decode = partial(self._inputs, self._decoders["GPU" if self._gpu else "CPU"])  # as the served model does it
        self._files = {size: photographs(_sides(size)) for size in options.sizes}
        self._known = {size: [self._run(decode([file])) for file in files] for size, files in self._files.items()}
        self._alone: dict[Alone, list[Load]] = defaultdict(list)
        self._served: dict[Served, Cell] = defaultdict(Cell)
        self._notes = [] if self._gpu else ["The model is published for a CPU: no GPU took part, and what needs one is left out."]
        self._rounds = 0

    def run(self, clients: Clients, torch: TorchGraphs | None) -> Iterator[None]:
        """Measure; yields after each round. None begins that would not end within ``--limit``."""
        if torch and (problem := torch.problem()):
            self._notes.append(f"PyTorch is left out: {problem}.")
            torch = None
        alone, served = list(self._steps_alone(torch)), list(self._ways())
        cells = len(alone) + len(self._options.variant) * len(served)
        seconds = cells * (self._options.seconds + _MEASURE_SECONDS) + len(self._options.variant) * _SERVER_SECONDS
        log.info("rounds: %d of about %.0f s each, at most %d s in all", self._options.rounds, seconds, self._options.limit)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="gpu-") as scratch:
            for number in range(1, self._options.rounds + 1):
                begun, order = time.monotonic(), 1 if number % 2 else -1
                parts = [partial(self._measure_alone, alone), partial(self._measure_served, served, Path(scratch), clients)]
                for part in parts[::order]:
                    part(number, order)
                self._rounds = number
                yield
                now = time.monotonic()
                if number < self._options.rounds and now - started + (now - begun) > self._options.limit:
                    log.info("another round would not end within --limit %d", self._options.limit)
                    return

    def _steps_alone(self, torch: TorchGraphs | None) -> Iterator[tuple[Alone, Callable[[], Load]]]:
        seconds = self._options.seconds
        for batch in self._options.batches:
            yield (ENGINE, batch), partial(bare, self._published, batch, seconds, self._run)
        if torch:
            for (copied, what), batch in itertools.product(TORCH.items(), self._options.batches):
                yield (what.format(self._options.torch), batch), partial(torch.measure, batch, seconds, copied=copied)
        for size, (where, decoder), batch in itertools.product(self._files, self._decoders.items(), self._options.batches):
            files = _some(self._files[size], 0, batch)
            yield (f"decoding {size} on the {where}", batch), partial(repeat, partial(self._inputs, decoder, files), seconds)

    def _ways(self) -> Iterator[tuple[str, str, int, int]]:
        options = self._options
        return itertools.product((PIXELS, *self._files), options.protocols, options.clients, options.per_request)

    def _measure_alone(self, steps: Sequence[tuple[Alone, Callable[[], Load]]], number: int, order: int) -> None:
        log.info("round %d of %d: alone", number, self._options.rounds)
        for key, measure in steps[::order]:
            self._alone[key].append(measure())

    def _measure_served(self, ways: Sequence[tuple[str, str, int, int]], scratch: Path, clients: Clients, number: int, order: int) -> None:
        folder = self._published.folder
        for variant in self._options.variant[::order]:
            log.info("round %d of %d: served %s", number, self._options.rounds, variant or "as published")
            write(variant, folder, scratch / "repository")
            with serve(scratch / "repository", image_name(folder.name)) as server:
                for way in ways[::order]:
                    self._measure(server, clients, self._served[variant, *way], way)

    def _measure(self, server: Server, clients: Clients, cell: Cell, way: tuple[str, str, int, int]) -> None:
        what, protocol, number, per_request = way
        questions = [self._question(what, client * per_request, per_request) for client in range(number)]
        address = server.http if protocol == "http" else server.grpc
        used = 0.0

        def at_start() -> None:
            nonlocal used
            used = server.cpu_seconds()

        load = clients.measure(protocol, address, questions, seconds=self._options.seconds, at_start=at_start)
        cell.loads.append(load)
        cell.server_cores.append((server.cpu_seconds() - used) / load.seconds)

    def _question(self, what: str, first: int, count: int) -> Question:
        if what == PIXELS:
            return self._published.question(first, count)
        files, known = (_some(part[what], first, count) for part in (self._files, self._known))
        return self._published.files_question(files, np.concatenate(known), slack=_SLACK)

    def _inputs(self, decoder: Decoder | GpuDecoder, files: Sequence[bytes]) -> npt.NDArray[Any]:
        """Decoded files as one batch."""
        decoded = decoder.decode([Picture("a photograph", file) for file in files], self._published.card.preprocessing)
        if bad := next((one for one in decoded if isinstance(one, ImageError)), None):
            raise bad
        return np.stack([one for one in decoded if not isinstance(one, ImageError)])

    def report(self) -> dict[str, Any]:
        """Everything, for JSON."""
        alone = [{"what": what, "batch": batch, **summary(Cell(loads), batch)} for (what, batch), loads in self._alone.items()]
        best = [max(rates) for rates in zip(*(row["rates"] for row in alone if row["what"] == ENGINE), strict=True)]
        names = ("variant", "sent", "protocol", "clients", "per_request")
        served = [
            {**dict(zip(names, key, strict=True)), **summary(cell, key[-1]), **against(cell, key[-1], best)}
            for key, cell in self._served.items()
        ]
        return {
            **head(self._published),
            "versions": machine.versions(_PACKAGES),
            "gpu": machine.gpus() if self._gpu else "",
            "engine": f"{self._published.config.name} {self._record.precision} alone",
            "compiler": f"{self._record.compiler.name} {self._record.compiler.version}",
            "rounds": self._rounds,
            "seconds": self._options.seconds,
            "notes": self._notes,
            "alone": alone,
            "served": served,
        }


def _sides(size: str) -> tuple[int, int]:
    width, height = (int(side) for side in size.split("x"))
    return width, height


def _some(all_of_them: Sequence[Any], first: int, count: int) -> list[Any]:
    """So many from ``first`` on, gone round in circles."""
    return list(itertools.islice(itertools.cycle(all_of_them), first, first + count))


def summary(cell: Cell, pictures: int) -> dict[str, Any]:
    """A cell in which each run or request has so many pictures: ``rate`` and ``rates`` are pictures a second, times are of a request."""
    rates = [round(load.rate * pictures, 1) for load in cell.loads]
    return {**cell.summary(), "rate": round(median(rates), 1), "rates": rates}


def against(cell: Cell, pictures: int, best: Sequence[float]) -> dict[str, Any]:
    """What only served cells have: the ratio to the best of the engine alone, round by round, and who used the cores."""
    ratios = [round(load.rate * pictures / rate, 3) for load, rate in zip(cell.loads, best, strict=True)]
    client_cores = median(load.client_cpu_seconds / load.seconds for load in cell.loads)
    return {
        "ratio": round(median(ratios), 3),
        "ratios": ratios,
        "stalls": sum(load.stalls for load in cell.loads),
        "server_cores": round(median(cell.server_cores), 1),
        "client_cores": round(client_cores, 1),
    }


def _shown(row: dict[str, Any]) -> str:
    return f"{row['rate']:.0f}; {min(row['rates']):.0f}-{max(row['rates']):.0f}"


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    rounds = f"{report['rounds']} round{'s' * (report['rounds'] > 1)}, {report['seconds']} s a cell"
    lines = [*heading(report), f"{report['gpu'] or 'No GPU'}; {report['compiler']}. {rounds}; median; least-most.", *report["notes"], ""]
    batches = list(dict.fromkeys(row["batch"] for row in report["alone"]))
    cells = {(row["what"], row["batch"]): f"{_shown(row)} ({row['p50_ms']:.2f} ms)" for row in report["alone"]}
    lines += ["| alone: pictures/s (p50 of a batch) | " + " | ".join(f"batch {batch}" for batch in batches) + " |"]
    lines += ["|---" * (len(batches) + 1) + "|"]
    for what in dict.fromkeys(row["what"] for row in report["alone"]):
        lines += [f"| {what} | " + " | ".join(cells[what, batch] for batch in batches) + " |"]
    ratio = f"against {report['engine']} in the same runtime"
    columns = (
        "served",
        "sent",
        "protocol",
        "clients",
        "pictures a request",
        "pictures/s",
        ratio,
        "p50 / p99, ms",
        "server's, clients' cores",
    )
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in report["served"]:
        ratio = f"**{row['ratio']:.2f}**; {min(row['ratios']):.2f}-{max(row['ratios']):.2f}"
        way = (row["variant"] or "as published", row["sent"], row["protocol"], row["clients"], row["per_request"])
        times, cores = f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}", f"{row['server_cores']:.1f}, {row['client_cores']:.1f}"
        lines.append(f"| {' | '.join(map(str, (*way, _shown(row), ratio, times, cores)))} |")
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SettingsError: a list is none of what is expected.
    """
    parser = variants_command_line("gpu", __doc__)
    parser.add_argument("--batches", default="1,8,32", metavar="N,N", help="of what runs alone (%(default)s)")
    parser.add_argument(
        "--torch", metavar="NAME", help="the architecture as torchvision calls it; without it, what the model was made from"
    )
    parser.add_argument("--sizes", default="640x427", metavar="WxH,WxH", help="of the JPEG files (%(default)s)")
    parser.add_argument("--clients", default="1,8,32", metavar="N,N", help="numbers of clients, each a process (%(default)s)")
    parser.add_argument("--per-request", default="1,8,32", metavar="N,N", help="pictures a request (%(default)s)")
    parser.add_argument("--protocols", default="grpc", help=f"of {','.join(PROTOCOLS)} (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement (%(default)s)")
    parser.add_argument("--limit", type=int, default=420, metavar="SECONDS", help="begin no round that would end later (%(default)s)")
    options = parser.parse_args(arguments)
    options.variant = options.variant or [""]
    if not re.fullmatch(r"\d+x\d+(,\d+x\d+)*", options.sizes):
        raise SettingsError(f"--sizes {options.sizes}: expected width and height of pictures", hint="--sizes 640x427,4032x3024")
    options.sizes, options.protocols = options.sizes.split(","), options.protocols.split(",")
    if unknown := set(options.protocols) - set(PROTOCOLS):
        raise SettingsError(f"--protocols: {', '.join(sorted(unknown))} is unknown", hint=f"--protocols {','.join(PROTOCOLS)}")
    for name in ("batches", "clients", "per_request"):
        setattr(options, name, _numbers(f"--{name.replace('_', '-')}", getattr(options, name)))
    return options


def _numbers(name: str, text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise SettingsError(f"{name} {text}: expected numbers from 1 on with commas between them", hint=f"{name} 1,8")
    return found


def main() -> int:
    """Measure, and print."""
    options = parse_arguments(sys.argv[1:])
    published = Published.read(options.folder.resolve())
    most = published.config.max_batch_size
    for name in ("batches", "per_request"):
        fitting = [number for number in getattr(options, name) if number <= most]
        if not fitting:
            raise SettingsError(f"{published.config.name} takes {most} pictures at most", hint="set --batches and --per-request lower")
        setattr(options, name, fitting)
    options.torch = options.torch or published.card.source.model
    with contextlib.ExitStack() as stack:
        torch = None
        if published.record.compiler.name == ON_GPU:
            torch = stack.enter_context(TorchGraphs(options.torch, published.card.preprocessing.crop))
        comparison = Comparison(published, options)
        clients = stack.enter_context(Clients(max(options.clients)))
        for _ in comparison.run(clients, torch):
            save(comparison.report(), options.json)
    sys.stdout.write(table(comparison.report()))
    return 0


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
