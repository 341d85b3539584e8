"""The command: ``python -m benchmarks.bench``, which ``scripts/bench`` runs."""

import contextlib
import json
import logging
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.bench import compare, library, page
from benchmarks.bench.arguments import NONE, Arguments, parse
from benchmarks.bench.engine import Engine
from benchmarks.bench.measure import Measuring
from benchmarks.bench.open_loop import generators
from benchmarks.bench.served import Served, process_in_docker, served
from benchmarks.load import Clients
from benchmarks.published import Published
from services.core import log as logs
from services.core import stage
from services.core.errors import ServerError, StackError
from services.core.files import write_atomically, writing
from services.core.published import RECORD
from services.core.record import BuildRecord
from services.local import dotenv
from services.local.stack import DEFAULT_MODEL, Folders, Stack

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
_REGRESSION = 1


def main() -> int:
    """Measure, report, compare; the exit code."""
    asked = parse(sys.argv[1:])
    stack = _stack()
    name = asked.model or stack.name
    published = Published.read(ROOT / stack.folders.repository / name)
    record = BuildRecord.load(published.version / RECORD)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    host = {**machine.describe(), "gpu": machine.gpus()}
    earlier = compare.read(Path(asked.against)) if asked.against not in ("", NONE) else None
    ports = {protocol: stack.settings[key] for protocol, key in (("http", "HTTP_PORT"), ("grpc", "GRPC_PORT"))}
    addresses = asked.url or f"127.0.0.1:{ports['http']}", asked.grpc_url or f"127.0.0.1:{ports['grpc']}"
    process = None if asked.url else _server_process(stack)
    with served(published, record, *addresses, process) as server, tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        head = {
            "format": compare.FORMAT,
            "started": started,
            "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
            "model": published.config.name,
            "machine": host,
            "versions": {**machine.versions(), "server": server.triton},
            "served": _described(published, record, server),
            "settings": asked.plan.json(),
            "built": record.speed.model_dump(mode="json") if record.speed else None,
        }
        earlier_file = Path(asked.against) if earlier else None
        if not asked.against and (earlier_file := compare.newest(asked.output, head)):
            earlier = compare.read(earlier_file)
        known = library.photographs(asked.pictures, published, "http", server.http)
        report = Report(asked.output, head, earlier, earlier_file)
        seconds = asked.plan.whole_seconds(1 + server.takes_files, engine=True)
        log.info("%s version %s at %s; this takes about %.0f s", name, published.version.name, server.http, seconds)
        with Clients(max(*asked.plan.clients, generators())) as clients:
            measuring = Measuring(published, server, Engine(published, record, Path(scratch)), known, asked.plan, clients, Path(scratch))
            try:
                for _ in measuring.rounds():
                    report.write(measuring, stopped="it still ran")
                report.write(measuring)
            except (KeyboardInterrupt, SystemExit, StackError) as error:
                why = str(error) if isinstance(error, StackError) else "interrupted"
                report.write(measuring, stopped=why)
                log.warning("report, incomplete: %s", report.file or "nothing was measured yet")
                raise
    _print(report, asked)
    log.info("report: %s", report.file)
    worse = report.regressions()
    if worse:
        log.warning("figures that are worse than in %s: %d", earlier_file, worse)
    return _REGRESSION if worse and asked.fail_on_regression else 0


def _stack() -> Stack:
    """Settings of ``.env`` and the shell, as the launchers read them."""
    own = {key: value for key, value in os.environ.items() if value}
    settings = {**dotenv.read(ROOT / ".env", own), **own}
    model = settings.get("MODEL") or ("resnet50" if own.get("LAUNCHER") == "gpu" else DEFAULT_MODEL)
    return Stack(Folders.of_checkout(ROOT, settings), settings | {"MODEL": model})


def _server_process(stack: Stack) -> int | None:
    if os.environ.get("LAUNCHER", "local") != "local":
        return process_in_docker()
    try:
        stack.demand_what_runs()
    except ServerError:  # it has other ports
        return None
    return stack.supervisor


def _described(published: Published, record: BuildRecord, server: Served) -> dict[str, Any]:
    config = published.config
    return {
        "by": "a server of the benchmark's own" if server.own else f"the stack that runs ({os.environ.get('LAUNCHER', 'local')})",
        "version": int(published.version.name),
        "precision": record.precision,
        "compiler": f"{record.compiler.name} {record.compiler.version}",
        "built on": record.hardware.device,
        "largest batch": config.max_batch_size,
        "instances": sum(group.count for group in config.instance_group),
        "dynamic batching": config.HasField("dynamic_batching"),
        "queue delay, us": config.dynamic_batching.max_queue_delay_microseconds,
    }


def _made(reports: Path, started: str) -> Path:
    """A new folder, called after the time."""
    name = started.replace(":", "-").rstrip("Z")
    with writing(reports):
        reports.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100):
            folder = reports / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise FileExistsError(f"{reports / name}: a hundred reports of one second")


class Report:
    """What is written, again after each round: a run that is killed leaves what it had. ``file`` is its page, once there is one."""

    def __init__(self, reports: Path, head: compare.Report, earlier: compare.Report | None, earlier_file: Path | None) -> None:
        self._reports, self._head, self._earlier, self._earlier_file = reports, head, earlier, earlier_file
        self.content: compare.Report = {}
        self.file: Path | None = None

    def write(self, measuring: Measuring, *, stopped: str = "") -> None:
        """Write all three files, where something was measured; ``stopped`` says why it is incomplete."""
        found = {
            **self._head,
            "complete": not stopped,
            "stopped": stopped,
            "load_after": round(os.getloadavg()[0], 2),
            **measuring.report(),
        }
        if not any(found[section] for section in compare.KEYS):
            return
        if self._earlier:
            found["against"] = {
                "report": os.path.relpath(self._earlier_file or "", ROOT),
                "started": self._earlier["started"],
                "circumstances": compare.other_circumstances(self._earlier, found),
                "differences": [one.json() for one in compare.differences(self._earlier, found)],
            }
        self.content, self.file = found, self.file or _made(self._reports, self._head["started"]) / "index.html"
        write_atomically(self.file.with_name("report.json"), json.dumps(found, indent=2) + "\n")
        write_atomically(self.file.with_name("report.md"), page.markdown(found))
        write_atomically(self.file, page.page(found))

    def regressions(self) -> int:
        """How many figures are worse than in the earlier report."""
        differences = self.content.get("against", {}).get("differences", [])
        return sum(one["verdict"] == "worse" for one in differences)


def _print(report: Report, asked: Arguments) -> None:
    sys.stdout.write(json.dumps(report.content, indent=2) + "\n" if asked.json else page.markdown(report.content))


if __name__ == "__main__":
    logs.set_up("bench")
    stage.run(main, debug="--debug" in sys.argv)
