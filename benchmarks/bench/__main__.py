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
from benchmarks.bench.arguments import NONE, ROOT, Arguments, parse
from benchmarks.bench.engine import Engine
from benchmarks.bench.measure import Measuring
from benchmarks.bench.open_loop import generators
from benchmarks.bench.served import Addresses, Served, process_in_docker, served
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

_REGRESSION = 1


def main() -> int:
    """Measure, report, compare; the exit code."""
    asked = parse(sys.argv[1:])
    stack = _stack()
    published = Published.read(ROOT / stack.folders.repository / (asked.model or stack.name))
    record = BuildRecord.load(published.version / RECORD)
    given = compare.read(Path(asked.against)) if asked.against not in ("", NONE) else None
    begun = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": {**machine.describe(), "gpu": machine.gpus()}}
    addresses = Addresses(
        asked.url or f"127.0.0.1:{stack.settings['HTTP_PORT']}",
        asked.grpc_url or f"127.0.0.1:{stack.settings['GRPC_PORT']}",
        must_answer=bool(asked.url),
    )
    with served(published, record, addresses, None if asked.url else _server_process(stack)) as server:
        head = {
            "format": compare.FORMAT,
            "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
            "model": published.config.name,
            **begun,
            "versions": {**machine.versions(), "server": server.triton},
            "served": _described(published, record, server),
            "settings": asked.plan.json(),
            "built": record.speed.model_dump(mode="json") if record.speed else None,
        }
        file = Path(asked.against) if given else compare.newest(asked.output, head) if not asked.against else None
        report = Report(asked.output, head, compare.read(file) if file else None, file)
        _measure(published, record, server, asked, report)
    sys.stdout.write(json.dumps(report.content, indent=2) + "\n" if asked.json else page.markdown(report.content))
    log.info("report: %s", report.shown)
    worse = report.regressions()
    if worse:
        log.warning("figures that are worse than in %s: %d", file, worse)
    return _REGRESSION if worse and asked.fail_on_regression else 0


def _measure(published: Published, record: BuildRecord, server: Served, asked: Arguments, report: "Report") -> None:
    """Fill the report; whatever ends it early, the report says so."""
    known = library.photographs(asked.pictures, published, "http", server.http)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Clients(max(*asked.plan.clients, generators())) as clients:
        scratch = Path(folder)
        engine = Engine(published, record, scratch)
        measuring = Measuring(published, server, engine, known, asked.plan, clients, scratch)
        seconds = asked.plan.whole_seconds(1 + server.takes_files, engine=bool(engine.source))
        where = f"{published.config.name} version {published.version.name} at {server.http}"
        log.info("%s, %s; this takes about %.0f s", where, "a server of its own" if server.own else "the stack that runs", seconds)
        try:
            for _ in measuring.rounds():
                report.write(measuring, stopped="it still ran")
            report.write(measuring)
        except (KeyboardInterrupt, SystemExit, StackError) as error:
            report.write(measuring, stopped=str(error) if isinstance(error, StackError) else "interrupted")
            log.warning("report, incomplete: %s", report.shown)
            raise


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
        if self._earlier and self._earlier_file:
            found["against"] = {
                "report": f"{self._earlier_file.parent.name}/{self._earlier_file.name}",
                "started": self._earlier["started"],
                "circumstances": compare.other_circumstances(self._earlier, found),
                "differences": [one.json() for one in compare.differences(self._earlier, found)],
            }
        self.content, self.file = found, self.file or _made(self._reports, self._head["started"]) / "index.html"
        write_atomically(self.file.with_name("report.json"), json.dumps(found, indent=2) + "\n")
        write_atomically(self.file.with_name("report.md"), page.markdown(found))
        write_atomically(self.file, page.page(found))

    @property
    def shown(self) -> str:
        """Where it is, for people."""
        return os.path.relpath(self.file) if self.file else "nothing was measured yet"

    def regressions(self) -> int:
        """How many figures are worse than in the earlier report."""
        differences = self.content.get("against", {}).get("differences", [])
        return sum(one["verdict"] == "worse" for one in differences)


if __name__ == "__main__":
    logs.set_up("bench")
    stage.run(main, debug="--debug" in sys.argv)
