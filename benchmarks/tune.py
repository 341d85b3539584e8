"""Finds the settings of serving that give the most pictures a second within a latency, proves the gain, and applies them.

Run it as scripts/tune. It looks at what the running server serves, and changes one setting at a time, by one step: INSTANCE_COUNT,
IMAGE_INSTANCES, CPU_THREADS, DECODE_WORKERS, PREFERRED_BATCH, MAX_QUEUE_DELAY_US. Each candidate is a copy of the live version that the
server loads beside it, under a name of its own; the model that answers your users stays as it is until the end. A candidate is measured
with the number of clients that gives the most within the latency (each sends a picture, waits for the answer, sends the next), and then
alternately with the best so far. It is taken where it gains more than the measurements differ among themselves.

At the end the best is measured against what is served, alternately again. Where it is better, its settings are written to tuned.env and
published by the builder: a new version of the same engine, nothing is compiled, no request fails. Where it is not, nothing changes.

The copies need memory (each that of the model) and the load needs processors or the GPU: tune while nobody else needs the server, and
run the clients nowhere else. The result holds for this machine, these pictures and this latency.
"""

import argparse
import contextlib
import json
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from benchmarks import machine
from benchmarks.bare import ON_GPU
from benchmarks.load import PROTOCOLS
from benchmarks.published import Published
from benchmarks.tuning.choice import NAMES, Choice, Ladders, seconds_of, settings_file
from benchmarks.tuning.search import PROOF_ROUNDS, Duel, Point, Search
from benchmarks.tuning.trials import Target, Trials, trials
from services.builder.compilers.onnxruntime import GPU_INSTANCES
from services.builder.model_config import IMAGE_VERSION
from services.builder.repository import ModelFolder
from services.builder.server import Server
from services.core import cpus, stage
from services.core import log as logs
from services.core.errors import ContractError, ServerError, SettingsError, ToolError
from services.core.files import write_atomically
from services.core.settings import BuilderSettings
from services.images.find import images_in
from services.local import dotenv, processes
from services.local.stack import PORTS

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
FILE = Path("tuned.env")
_LOCK_SECONDS = 5.0
_PROOF_SECONDS = 40.0
_BUSY = 0.3
_MOST_PICTURES = 64
_MEASUREMENTS = 200
"""So many at least should fit into the time."""


@dataclass(frozen=True)
class Builder:
    """The builder of the stack that runs: its command line, and the environment that it is given."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, *words: str, **settings: str) -> dict[str, Any]:
        """Run a command, and return what it prints as JSON.

        Raises:
            ToolError: it failed; it has said why.
        """
        with tempfile.TemporaryFile("w+") as output:
            command = [*self.command, *words, "--json"]
            if code := processes.run(command, {**self.environment, **settings}, Path.cwd(), output):
                raise ToolError(f"{shlex.join(command)} ended with {code}", hint="its last lines above say why")
            output.seek(0)
            last = output.read().strip().rpartition("\n")[2]
        try:
            found: dict[str, Any] = json.loads(last)
        except ValueError:
            raise ToolError(f"{shlex.join(command)} printed {last!r}, expected JSON", hint="run it by itself") from None
        return found

    def demand_live_engine(self) -> str:
        """The name of the model, where a change of serving would compile nothing.

        Raises:
            SettingsError: the settings ask for another engine than the one that is served.
        """
        plan = self.run("build", "--dry-run")
        model, live = str(plan["model"]), plan["live"]
        if plan["engine"] != "live":
            served = f"version {live}, which is served" if live else "nothing, which is what is served"
            hint = "scripts/builder build makes them agree; MODEL and PRECISION name what is tuned"
            raise SettingsError(f"the settings ask for another engine of {model} than {served}", hint=hint)
        if not plan["up_to_date"]:
            log.warning("settings of serving have changed since version %s was published; what is applied has all of them", live)
        return model


@dataclass(frozen=True)
class Result:
    """What came of a run; ``version`` is the one that was published, None where none was."""

    target: Target
    bound: float
    published: Choice
    found: Point
    proof: Duel | None
    tried: Mapping[Choice, str]
    version: int | None = None

    @property
    def gained(self) -> Choice | None:
        """The settings whose gain is proven."""
        return self.proof.after.choice if self.proof and self.proof.won(self.bound) else None

    def report(self) -> dict[str, Any]:
        """Everything, for JSON; times in milliseconds."""
        name = self.target.image.name if self.target.files else self.target.published.config.name
        return {
            "model": name,
            "protocol": self.target.protocol,
            "p99_ms": self.bound * 1e3,
            "before": _row(self.proof.before if self.proof else self.found),
            "after": _row(self.proof.after) if self.proof else None,
            "ratio": round(1 + self.proof.gain, 3) if self.proof else None,
            "spread": round(self.proof.spread, 3) if self.proof else None,
            "ratio_of": ("p99" if self.proof.by_latency else "rate") if self.proof else None,
            "better": self.gained is not None,
            "version": self.version,
            "tried": [{"change": choice.against(self.published), "result": text} for choice, text in self.tried.items()],
            "machine": machine.describe(),
        }

    def text(self) -> str:
        """The same for people."""
        report = self.report()
        lines = [f"{report['model']} over {report['protocol']}, one picture a request, p99 within {self.bound * 1e3:g} ms:"]
        for title in ("before", "after"):
            if row := report[title]:
                clients = f"{row['clients']} client{'s' * (row['clients'] > 1)}"
                lines.append(f"  {title:<7} {row['rate']:>7.1f} pictures/s, p99 {row['p99_ms']:.1f} ms, {clients}")
        best = self.found if not self.proof else self.proof.after if self.gained else self.proof.before
        if best.clients == 1 and not best.within(self.bound):
            lines.append(f"  no setting that was tried keeps within {self.bound * 1e3:g} ms, not even with one client")
        if self.proof:
            what = "the latency before to that after" if self.proof.by_latency else "pictures/s"
            lines.append(f"  ratio   {1 + self.proof.gain:.2f} ±{self.proof.spread:.2f} ({what}; {PROOF_ROUNDS} rounds, alternately)")
        if not self.gained:
            lines.append("No gain: the settings in force are the best that was found. Nothing was changed.")
        return "\n".join([*lines, ""])


def _row(point: Point) -> dict[str, Any]:
    measured = {"clients": point.clients, "rate": round(point.rate, 1), "p99_ms": round(point.p99 * 1e3, 2)}
    return {**measured, "settings": point.choice.settings()}


class Progress:
    """Says what was tried, with the time that is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the search has to end; below zero afterwards."""
        return self._end - time.monotonic()

    def say(self, what: str) -> None:
        """A line."""
        log.info("%s   (%d s of the search left)", what, max(0, self.left()))


def _gpu_instances(published: Published) -> int:
    if published.config.instance_group[0].kind != pb.ModelInstanceGroup.KIND_GPU:
        return 0
    return GPU_INSTANCES if published.record.compiler.name == ON_GPU else 1


def search(target: Target, bench: Trials, bound: float, options: argparse.Namespace) -> Result:
    """Search, then prove what was found."""
    published = Choice.of(target.published.config, target.image)
    config = target.published.config
    ladders = Ladders(
        processors=cpus.find().number,
        gpu=_gpu_instances(target.published),
        files=target.files,
        max_batch=config.max_batch_size,
        bound=bound,
        only=options.only,
    )
    seconds = options.minutes * 60
    progress = Progress(seconds - min(_PROOF_SECONDS, seconds / 3))
    searching = Search(bench.measure, ladders, options.clients, progress.left, progress.say)
    log.info("settings in force: %s", " ".join(f"{name}={value}" for name, value in published.settings().items()))
    best = searching.run(published)
    if not searching.finished:
        log.info("the time is over; --minutes gives it more")
    proof = None
    if best.choice != published:
        log.info("the best against what is in force, %d rounds: %s", PROOF_ROUNDS, best.choice.against(published))
        proof = searching.prove(published, best)
    return Result(target, bound, published, best, proof, searching.tried)


def apply(choice: Choice, head: Sequence[str], builder: Builder) -> int:
    """Write the settings file, and have the builder publish the engine with them; return the version.

    Raises:
        ToolError: the builder failed; what was served still is.
    """
    write_atomically(FILE, settings_file(choice, head))
    log.info("written: %s", FILE)
    return int(builder.run("build", **choice.settings())["version"])


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/tune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--p99", default="50ms", metavar="TIME", help="99 of 100 answers shall come within it, e.g. 20ms or 0.02s (%(default)s)"
    )
    parser.add_argument("--what", choices=("files", "pixels"), default="files", help="what clients send (%(default)s)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="grpc", help="(%(default)s)")
    parser.add_argument("--clients", type=int, default=64, metavar="N", help="never more at a time (%(default)s)")
    parser.add_argument("--minutes", type=float, default=5, metavar="N", help="about what it may take (%(default)s)")
    parser.add_argument("--pictures", type=Path, default=ROOT / "samples", metavar="FOLDER", help="your own, sent as files (samples)")
    parser.add_argument("--only", type=_names, default=(), metavar="KEY,KEY", help="settings to change; the others stay as they are")
    parser.add_argument("--dry-run", action="store_true", help="search, prove and report only")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    parser.add_argument("--builder", default="scripts/builder", metavar="COMMAND", help="what publishes (%(default)s)")
    options = parser.parse_args(arguments)
    if options.clients < 1:
        parser.error("--clients: expected at least 1")
    if options.minutes <= 0:
        parser.error("--minutes: expected more than 0")
    return options


def _names(text: str) -> tuple[str, ...]:
    names = tuple(word.strip().lower() for word in text.split(","))
    if unknown := [name.upper() for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(NAMES).upper()}")
    return names


def _pictures(folder: Path) -> list[bytes]:
    longest = BuilderSettings.model_fields["max_image_bytes"].default
    found = [path.read_bytes() for path in images_in(folder) if path.stat().st_size <= longest][:_MOST_PICTURES]
    if not found:
        raise SettingsError(f"--pictures {folder}: there is no picture in it", hint="name a folder of pictures such as your users send")
    return found


def main() -> int:
    """Search, prove, apply, and print."""
    options = parse_arguments(sys.argv[1:])
    logs.set_up("tune", debug=options.debug)
    logging.getLogger("services.core.stage").setLevel(logging.WARNING)  # each load of a copy would be told
    bound = seconds_of(options.p99)
    own = {key: value for key, value in os.environ.items() if value}
    settings = {**dotenv.read(ROOT / ".env", own), **own}
    pictures = _pictures(options.pictures) if options.what == "files" else []
    builder = Builder(tuple(shlex.split(options.builder)), os.environ)
    model = builder.demand_live_engine()
    http, grpc, _ = (f"127.0.0.1:{settings.get(name) or default}" for name, default in PORTS.items())
    server = Server(grpc, float(settings.get("LOAD_TIMEOUT_SECONDS") or 300))
    if not server.answers():
        raise ServerError(f"no Triton server answers at {grpc}", hint="start it: scripts/up")
    busy = os.getloadavg()[0]
    if busy > _BUSY * machine.cores():
        log.warning(
            "other work runs here (load %.1f on %d processors): the figures will waver; a quiet machine tells more", busy, machine.cores()
        )
    repository = Path(settings.get("MODEL_REPOSITORY") or "model_repository").expanduser()
    folder = ModelFolder(repository.absolute(), model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked(_LOCK_SECONDS))
        address = grpc if options.protocol == "grpc" else http
        target = Target.read(folder.path, files=options.what == "files", protocol=options.protocol, address=address)
        if target.files and not server.is_ready(target.image.name, IMAGE_VERSION):
            raise ContractError(f"{target.image.name} is not ready", hint="scripts/builder build brings it back; or --what pixels")
        bench = stack.enter_context(trials(target, server, pictures, options.minutes * 60 / _MEASUREMENTS))
        result = search(target, bench, bound, options)
    if result.gained and not options.dry_run:
        head = ["Found by scripts/tune. Copied into .env, they hold for every start.", *result.text().splitlines()]
        result = replace(result, version=apply(result.gained, head, builder))
    _tell(result, as_json=options.json)
    return 0


def _tell(result: Result, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.report()) + "\n")
        return
    sys.stdout.write(result.text())
    if not result.gained:
        return
    sys.stdout.write(f"Better: {result.gained.against(result.published)}\n")
    if result.version is None:
        sys.stdout.write("Nothing was changed (--dry-run).\n")
    else:
        sys.stdout.write(
            f"Version {result.version} is served with it. The settings are in {FILE}: copy them into .env to keep them, for the next\n"
            "scripts/up or scripts/builder build goes by .env. Back to what was before: scripts/builder rollback\n"
        )


if __name__ == "__main__":
    stage.run(main, debug="--debug" in sys.argv)
