"""From a JPEG to a label: this product beside other servers, on one machine, in one run. No GPU.

  python -m benchmarks.peers model_repository/efficientnet_lite0 --json peers.json --chart docs/peers.svg

`engine` gives all of them the same graph, as many threads, and each the best of the settings that its documentation has, tried
beforehand; `product` compares this product with PRECISION=auto with the others' defaults in FP32. Environments, and the models that
are published for it, are made below --scratch and used again. A table goes to stdout, progress to stderr.
"""

import argparse
import functools
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import Clients
from benchmarks.peers.builds import AUTO, TUTORIAL, build
from benchmarks.peers.contest import Contest, Entrant, Seen, measure, ours, peer_server, right_labels, score, tutorial
from benchmarks.peers.entrants import ABSENT, PEERS, Peer, Setting
from benchmarks.peers.environments import environment, installed
from benchmarks.peers.process import adopt_orphans
from benchmarks.peers.report import chart, table
from benchmarks.peers.wire import Picture
from benchmarks.pictures import Bare, photographs
from benchmarks.published import Published
from benchmarks.report import head, save
from services.core import cpus, stage
from services.core import log as logs
from services.core.errors import AccuracyError, ServerError, SettingsError, ToolError

log = logging.getLogger(__name__)

_TRIAL_SECONDS = 1.0
_RIGHT, _RIGHT_INT8 = 0.9, 0.6
"""A label is right that scores so much of the best one: decoders differ a little, int8 by more."""
TITLES = {"engine": "The same engine for all", "product": "Product against product"}


class Run:
    """What is measured, with all that was prepared for it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._scratch: Path = options.scratch.resolve()
        self._published = Published.read(options.folder.resolve())
        self._head = head(self._published)
        self._bare = Bare.of(self._published)
        self._spinning = cpus.threads(cpus.find(), 1).spin_us > 0
        self._pythons: dict[str, Path] = {}
        self.absent = dict(ABSENT)
        self.trials: dict[str, dict[str, float]] = {}
        self._contests: dict[str, Contest] = {}

    def prepare(self, clients: Clients) -> None:
        """Environments, models and settings."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        for peer in self._peers():
            log.info("environment of %s", peer.title)
            try:
                self._pythons[peer.name] = environment(peer.folder, self._scratch)
            except ToolError as error:
                self.absent[peer.title] = str(error)
        for mode in self._options.modes:
            limit, pictures = self._bare, self._pictures(_RIGHT)
            entrants = ours(self._published)
            if mode == "product":
                auto = build(self._published, AUTO, self._scratch / "auto")
                limit, pictures, entrants = Bare.of(auto), self._pictures(_RIGHT_INT8), ours(auto)
            if self._wanted("tutorial"):
                entrants.append(tutorial(build(self._published, TUTORIAL, self._scratch / "tutorial"), batching=mode == "engine"))
            first = next(iter(pictures.values()))[0]
            for peer in self._peers():
                if peer.name in self._pythons:
                    setting = self._best(peer, pictures, clients) if mode == "engine" else Setting()
                    entrants.append(self._entrant(peer, setting, first))
            self._contests[mode] = Contest(entrants, limit, pictures, self._options.clients)

    def rounds(self, clients: Clients) -> Iterator[None]:
        """Measure; yields after each round."""
        for number in range(1, self._options.rounds + 1):
            for mode, contest in self._contests.items():
                log.info("round %d of %d, %s", number, self._options.rounds, mode)
                contest.round(number, clients, self._options.seconds, self._options.tries)
            yield

    def report(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            **self._head,
            "peers": {name: installed(peer.folder, name) for peer in self._peers() for name in peer.packages},
            "rounds": self._options.rounds,
            "seconds": self._options.seconds,
            "clients": self._options.clients,
            "absent": self.absent,
            "trials": self.trials,
            "comparisons": [{"name": mode, "title": TITLES[mode], **contest.report()} for mode, contest in self._contests.items()],
        }

    def _peers(self) -> list[Peer]:
        return [peer for peer in PEERS if self._wanted(peer.name)]

    def _wanted(self, name: str) -> bool:
        return not self._options.only or name in self._options.only

    def _pictures(self, least: float) -> dict[str, list[Picture]]:
        def picture(file: bytes) -> Picture:
            return Picture(file, right_labels(self._bare, self._published, file, least))

        sides = {size: tuple(map(int, size.split("x"))) for size in self._options.sizes}
        return {size: list(map(picture, photographs((width, height)))) for size, (width, height) in sides.items()}

    def _entrant(self, peer: Peer, setting: Setting, first: Picture) -> Entrant:
        start = functools.partial(peer_server, peer, self._pythons[peer.name], self._published.version, setting, self._spinning, first)
        return Entrant(peer.name, peer.title, peer.client(setting), start, str(setting))

    def _best(self, peer: Peer, pictures: dict[str, list[Picture]], clients: Clients) -> Setting:
        """Of the settings of a peer, the one with the highest rates in a short trial; one that fails is as slow as can be."""
        found: dict[Setting, float] = {}
        for setting in peer.settings(machine.cores()):
            log.info("%s tries %s", peer.title, setting)
            seen = Seen()
            try:
                entrant = self._entrant(peer, setting, next(iter(pictures.values()))[0])
                measure(entrant, seen, pictures, self._options.clients, clients, _TRIAL_SECONDS, self._options.tries)
                found[setting] = score(seen)
            except (ServerError, AccuracyError) as error:
                log.warning("%s with %s: %s", peer.title, setting, error)
                found[setting] = 0.0
        self.trials[peer.title] = {str(setting): round(rate, 1) for setting, rate in found.items()}
        return max(found, key=lambda setting: found[setting])


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SettingsError: --only or --modes names something unknown.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["tutorial", *(peer.name for peer in PEERS)]
    parser.add_argument("folder", type=Path, nargs="?", help="a published model: model_repository/<model>")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help=f"of {', '.join(names)}; this product always takes part")
    parser.add_argument("--modes", default=",".join(TITLES), help="(%(default)s)")
    parser.add_argument("--sizes", default="640x427,4032x3024", metavar="WxH,WxH", help="(%(default)s)")
    parser.add_argument("--clients", default="1,8", metavar="N,N", help="numbers of clients (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement (%(default)s)")
    parser.add_argument("--tries", type=int, default=5, help="of a measurement that something else disturbs (%(default)s)")
    parser.add_argument("--scratch", type=Path, default=Path(".stack/peers"), metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, after every round")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also write a bar chart there, as SVG")
    parser.add_argument("--from", type=Path, dest="earlier", metavar="FILE", help="measure nothing: show the --json of an earlier run")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    options = parser.parse_args(arguments)
    if not (options.folder or options.earlier):
        parser.error("name a published model: model_repository/<model>")
    for name in ("only", "modes", "sizes"):
        setattr(options, name, [one for one in getattr(options, name).split(",") if one])
    options.clients = [int(number) for number in options.clients.split(",")]
    for asked, known in ((options.only, names), (options.modes, list(TITLES))):
        if unknown := [one for one in asked if one not in known]:
            raise SettingsError(f"found {', '.join(unknown)}, expected some of {', '.join(known)}")
    return options


def main() -> int:
    """Measure, and print."""
    options = parse_arguments(sys.argv[1:])
    report: dict[str, Any] = json.loads(options.earlier.read_text()) if options.earlier else measured(options)
    if options.chart:
        options.chart.write_text(chart(report))
    sys.stdout.write(table(report))
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The report of a run of its own."""
    adopt_orphans()
    run = Run(options)
    with Clients(max(options.clients)) as clients:
        run.prepare(clients)
        for _ in run.rounds(clients):
            save(run.report(), options.json)
    return run.report()


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
