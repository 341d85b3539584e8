"""What ``classify`` makes of a folder, against the best that a load generator gets from the same server. No network.

  python -m benchmarks.classify model_repository/efficientnet_lite0 --json classify.json

In each round, in alternating order: the command over a folder of JPEG files, and clients in a closed loop, by several numbers of clients
and of files a request, of which the best counts. The command's rate is told twice: with all that a program costs (its start, its imports,
asking for the card), and from its first line of output to its last. A table in Markdown goes to stdout, progress to stderr.
"""

import argparse
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.load import Clients
from benchmarks.pictures import Bare, photographs, write
from benchmarks.published import Published
from benchmarks.report import command_line, head, heading, save
from benchmarks.server import Server, serve
from services.core import log as logs
from services.core import stage
from services.core.errors import ToolError
from services.core.names import image_name

log = logging.getLogger(__name__)

SIZE = (640, 427)
WAYS = [("http", 4, 1), ("http", 8, 1), ("http", 4, 8), ("grpc", 4, 1), ("grpc", 8, 1), ("grpc", 4, 8)]
"""Protocol, clients, files a request."""


class Comparison:
    """Rounds of both."""

    def __init__(self, published: Published, options: argparse.Namespace, folder: Path) -> None:
        self._published, self._options, self._folder = published, options, folder
        files = photographs(SIZE)
        for number, data in zip(range(options.pictures), itertools.cycle(files)):
            (folder / f"{number:06}.jpg").write_bytes(data)
        bare = Bare.of(published)
        self._files, self._scores = files, [bare.scores(bare.inputs([data])) for data in files]
        self.best: list[float] = []
        self.ways: list[str] = []
        self.whole: list[float] = []
        self.streamed: list[float] = []

    def round(self, number: int, server: Server, clients: Clients) -> None:
        """Measure both once, in an order that changes with ``number``."""
        steps = [partial(self._generate, server, clients), partial(self._classify, server)]
        for step in steps[:: 1 if number % 2 else -1]:
            step()
        log.info(
            "round %d: load generator %.1f (%s), classify %.1f, %.1f while it answers",
            number, self.best[-1], self.ways[-1], self.whole[-1], self.streamed[-1],
        )  # fmt: skip

    def _generate(self, server: Server, clients: Clients) -> None:
        rates = {}
        for protocol, number, count in WAYS:
            cycle = list(itertools.islice(itertools.cycle(zip(self._files, self._scores, strict=True)), count))
            question = self._published.files_question([data for data, _ in cycle], np.concatenate([scores for _, scores in cycle]))
            address = server.http if protocol == "http" else server.grpc
            load = clients.measure(protocol, address, [question] * number, seconds=self._options.seconds)
            rates[f"{protocol}, {number} clients, {count} a request"] = load.rate * count
        way = max(rates, key=lambda way: rates[way])
        self.best.append(rates[way])
        self.ways.append(way)

    def _classify(self, server: Server) -> None:
        command = [sys.executable, "-m", "services.client", "classify", "--json", str(self._folder)]
        environment = {**os.environ, "MODEL_NAME": self._published.config.name, "TRITON_URL": server.http, "TRITON_GRPC_URL": server.grpc}
        start = time.monotonic()
        first, lines = 0.0, 0
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
            for line in program.stdout or ():
                if '"error"' in line:
                    raise ToolError(f"classify: {line.strip()}", hint="run it by hand against this model")
                first = first or time.monotonic()
                lines += 1
            last = time.monotonic()
        if program.returncode or lines != self._options.pictures:
            raise ToolError(f"classify ended with {program.returncode} after {lines} lines", hint="run it by hand against this model")
        self.whole.append(lines / (time.monotonic() - start))
        self.streamed.append((lines - 1) / (last - first))

    def report(self) -> dict[str, Any]:
        """Everything, for JSON; ratios are to the load generator of the same round."""
        return {
            **head(self._published),
            "pictures": self._options.pictures,
            "load_generator": self.best,
            "best_ways": self.ways,
            "classify": self.whole,
            "classify_while_it_answers": self.streamed,
            "ratios": [found / best for found, best in zip(self.whole, self.best, strict=True)],
            "ratios_while_it_answers": [found / best for found, best in zip(self.streamed, self.best, strict=True)],
        }


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    rows = [
        ("load generator, its best", report["load_generator"], [1.0]),
        (f"`classify`, {report['pictures']} files, the whole program", report["classify"], report["ratios"]),
        ("`classify`, while it answers", report["classify_while_it_answers"], report["ratios_while_it_answers"]),
    ]
    lines = [*heading(report), f"Best ways of the load generator: {'; '.join(report['best_ways'])}.", ""]
    lines += ["| | pictures/s | ratio; least and most |", "|---|---|---|"]
    for what, rates, ratios in rows:
        lines.append(f"| {what} | {median(rates):.0f} | **{median(ratios):.2f}**; {min(ratios):.2f}-{max(ratios):.2f} |")
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("classify", __doc__)
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="in the folder (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement of the load generator (%(default)s)")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, and print."""
    options = parse_arguments(sys.argv[1:])
    published = Published.read(options.folder.resolve())
    with tempfile.TemporaryDirectory(prefix="classify-") as scratch, Clients(max(number for _, number, _ in WAYS)) as clients:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        comparison = Comparison(published, options, pictures)
        write("", published.folder, Path(scratch) / "repository")
        with serve(Path(scratch) / "repository", image_name(published.config.name)) as server:
            for number in range(1, options.rounds + 1):
                comparison.round(number, server, clients)
                save(comparison.report(), options.json)
    sys.stdout.write(table(comparison.report()))
    return 0


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
