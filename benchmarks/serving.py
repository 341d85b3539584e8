"""How fast a real Triton serves a published model, and what each serving setting does to that. No GPU, no network.

  python -m benchmarks.serving model_repository/efficientnet_lite0 --json serving.json
      compares variants of config.pbtxt, each on a server of its own that is started for it, in several rounds;
  python -m benchmarks.serving model_repository/efficientnet_lite0 --soak 10000 --url 127.0.0.1:8000 --grpc-url 127.0.0.1:8001
      asks a server that runs already: so many requests by one client, and as many by the most clients.

A table in Markdown goes to stdout, progress to stderr. Every answer is compared with the golden set; a wrong one ends the run.
The published folder is only read. A stall is a request that takes 300 ms more than the median.
"""

import argparse
import logging
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.bare import bare
from benchmarks.load import PROTOCOLS, Clients
from benchmarks.published import Published
from benchmarks.report import Cell, command_line, head, heading, save
from benchmarks.server import serve
from benchmarks.variants import WORDS, Variant, default_variants
from services.core import log as logs
from services.core import stage
from services.core.errors import SettingsError

log = logging.getLogger(__name__)
BARE_BATCHES = (1, 8)
# Seconds that starting and stopping a server takes, for the estimate.
_SERVER_SECONDS = 2.5


class Comparison:
    """Rounds over the variants, turned round every other time, so that a busy machine is unfair to none.

    Bare ONNX Runtime is measured before every variant; ratios are to its median of the same round.
    """

    def __init__(self, published: Published, variants: Sequence[Variant], options: argparse.Namespace) -> None:
        self.published, self.variants, self.options = published, list(variants), options
        self.cells: dict[tuple[str, str, int], Cell] = {}
        self.yardstick: dict[int, Cell] = {batch: Cell() for batch in BARE_BATCHES}
        self.bases: list[float] = []
        self._own = self._all = self._measured = 0.0

    def run(self, clients: Clients) -> Iterator[None]:
        """Measure; after each round it yields, and the cells hold whole rounds only."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
            for number in range(1, self.options.rounds + 1):
                begun = time.monotonic()
                for index, variant in enumerate(self.variants if number % 2 else self.variants[::-1], 1):
                    log.info("round %d of %d, %d of %d: %s", number, self.options.rounds, index, len(self.variants), variant.words)
                    for batch, cell in self.yardstick.items():
                        cell.loads.append(bare(self.published, batch, self.options.seconds / 2))
                    self._measure(variant, Path(scratch) / "repository", clients)
                self.bases.append(median(load.rate for load in self.yardstick[1].loads[-len(self.variants) :]))
                yield
                now = time.monotonic()
                if self.options.limit and now - started + (now - begun) > self.options.limit:
                    log.info("another round would not end within --limit %d", self.options.limit)
                    return

    def _measure(self, variant: Variant, repository: Path, clients: Clients) -> None:
        variant.write(self.published, repository)
        with serve(repository, self.published.config.name) as server:
            for protocol in self.options.protocols:
                address = server.http if protocol == "http" else server.grpc
                for number in self.options.clients:
                    questions = [self.published.question(row) for row in range(number)]
                    begun, served, busy = time.monotonic(), server.cpu_seconds(), machine.busy_seconds()
                    load = clients.measure(protocol, address, questions, seconds=self.options.seconds)
                    served = server.cpu_seconds() - served
                    self._all += machine.busy_seconds() - busy
                    self._own += served + load.client_cpu_seconds
                    elapsed = time.monotonic() - begun
                    self._measured += elapsed
                    cell = self.cells.setdefault((variant.words, protocol, number), Cell())
                    cell.loads.append(load)
                    cell.server_cores.append(served / elapsed)

    def report(self) -> dict[str, Any]:
        """Everything, for JSON."""
        base = median(self.bases)
        yardstick = []
        for batch, cell in self.yardstick.items():
            rate = median(load.rate for load in cell.loads) * batch
            yardstick.append({"batch": batch, **cell.summary(), "images_per_second": round(rate, 1), "ratio": round(rate / base, 3)})
        rows = []
        for (words, protocol, number), cell in self.cells.items():
            ratios = [round(load.rate / base, 3) for load, base in zip(cell.loads, self.bases, strict=True)]
            measured = {**cell.served(), "server_cores": round(median(cell.server_cores), 2), "ratio": median(ratios), "ratios": ratios}
            rows.append({"variant": words, "protocol": protocol, "clients": number, **measured})
        return {
            **head(self.published),
            "rounds": len(self.bases),
            "seconds": self.options.seconds,
            "other_work_cores": round(max(0.0, self._all - self._own) / self._measured, 2),
            "bare": yardstick,
            "rows": rows,
        }


def comparison_table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    costs = [row["client_cpu_ms"] for row in report["rows"]]
    lines = [*heading(report), "Bare ONNX Runtime in the same run:"]
    lines += [
        f"- batch {row['batch']}: {row['images_per_second']} images/s ({row['ratio']:.2f}), p50 / p99 {row['p50_ms']} / {row['p99_ms']} ms"
        for row in report["bare"]
    ]
    lines += [
        f"Rounds: {report['rounds']}, {report['seconds']} s a cell.",
        f"A request costs its client {min(costs):.2f} to {max(costs):.2f} ms of a core.",
        f"Other work took {report['other_work_cores']} of the cores meanwhile.",
        "",
        "A cell: images/s (ratio to bare at batch 1; least and most of the rounds), p50 / p99 / max in ms, stalls of requests,",
        "cores that the server used.",
    ]
    rows = {(row["variant"], row["protocol"], row["clients"]): row for row in report["rows"]}
    variants, protocols, clients = (list(dict.fromkeys(key[part] for key in rows)) for part in range(3))
    for protocol in protocols:
        lines += ["", f"| {protocol} | " + " | ".join(f"{number} client{'s' * (number > 1)}" for number in clients) + " |"]
        lines += ["|---" * (len(clients) + 1) + "|"]
        lines += [f"| {words} | " + " | ".join(cell_text(rows[words, protocol, number]) for number in clients) + " |" for words in variants]
    return "\n".join(lines) + "\n"


def cell_text(row: dict[str, Any]) -> str:
    """One cell of the table."""
    ratio = f"**{row['ratio']:.2f}**; {min(row['ratios']):.2f}-{max(row['ratios']):.2f}"
    times = f"{row['p50_ms']:.1f} / {row['p99_ms']:.0f} / {row['max_ms']:.0f}"
    return f"{row['rate']:.0f} ({ratio}), {times}, {row['stalls']} of {row['requests']}, {row['server_cores']:.1f}"


def soak(published: Published, clients: Clients, options: argparse.Namespace) -> dict[str, Any]:
    """Ask a running server so many times by one client, and as many by the most clients, over each protocol."""
    rows = []
    for protocol in options.protocols:
        address = options.url if protocol == "http" else options.grpc_url
        for number in sorted({1, max(options.clients)}):
            requests = math.ceil(options.soak / number) * number
            with stage.progress(f"{protocol}, {number} client{'s' * (number > 1)}, {requests} requests"):
                load = clients.measure(protocol, address, [published.question(row) for row in range(number)], requests=requests)
            rows.append({"protocol": protocol, "clients": number, **Cell([load]).served()})
    return head(published) | {"rows": rows}


def soak_table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    columns = ("protocol", "clients", "requests", "rate", "p50_ms", "p99_ms", "max_ms", "stalls", "client_cpu_ms")
    lines = [*heading(report), f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(str(row[name]) for name in columns)} |" for row in report["rows"]]
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("serving", __doc__, f"words of a variant, separated by spaces:\n{WORDS}")
    parser.add_argument(
        "--variant",
        action="append",
        metavar="WORDS",
        help="a variant to compare, once for each; without it a list for this number of cores",
    )
    parser.add_argument("--clients", default="1,4,8", metavar="N,N", help="numbers of clients (%(default)s)")
    parser.add_argument("--protocols", default="http,grpc", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (%(default)s)")
    parser.add_argument("--limit", type=int, default=0, metavar="SECONDS", help="begin no round that would end later; 0: no limit")
    parser.add_argument("--soak", type=int, metavar="N", help="ask a running server N times instead")
    parser.add_argument("--url", default="127.0.0.1:8000", help="HTTP address of the running server (%(default)s)")
    parser.add_argument("--grpc-url", default="127.0.0.1:8001", help="its gRPC address (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        options.clients = [int(number) for number in options.clients.split(",")]
    except ValueError:
        raise SettingsError(f"--clients {options.clients}: expected numbers with commas between them", hint="--clients 1,8") from None
    options.protocols = options.protocols.split(",")
    if unknown := set(options.protocols) - set(PROTOCOLS):
        raise SettingsError(f"--protocols: {', '.join(sorted(unknown))} is unknown", hint="--protocols http,grpc")
    return options


def main() -> int:
    """Compare or soak, and print."""
    options = parse_arguments(sys.argv[1:])
    published = Published.read(options.folder.resolve())
    with Clients(max(1, *options.clients)) as clients:
        if options.soak:
            report = soak(published, clients, options)
            save(report, options.json)
            sys.stdout.write(soak_table(report))
            return 0
        variants = [Variant.parse(words) for words in options.variant] if options.variant else default_variants(machine.cores())
        comparison = Comparison(published, variants, options)
        cells = len(options.protocols) * len(options.clients)
        estimate = options.rounds * len(variants) * (_SERVER_SECONDS + options.seconds + cells * (options.seconds + 0.2))
        log.info("variants: %d, rounds: %d; this takes about %.0f s", len(variants), options.rounds, estimate)
        for _ in comparison.run(clients):
            save(comparison.report(), options.json)
        sys.stdout.write(comparison_table(comparison.report()))
    return 0


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
