"""NVIDIA's own load generator beside ours, where it is on PATH: closed loop, pixels, random input.

Its answers are not checked. Options and columns: docs/cli.md and docs/measurements_metrics.md of triton-inference-server/perf_analyzer.
"""

import csv
import io
import shutil
from pathlib import Path

from benchmarks.bench.figures import MILLI, short
from services.builder import process
from services.core.errors import ContractError

_PROGRAM = "perf_analyzer"
_TRIALS, _SLACK_SECONDS = 3, 60


def find() -> str:
    """Its path; "" where there is none."""
    return shutil.which(_PROGRAM) or ""


def measure(program: str, model: str, protocol: str, address: str, clients: int, seconds: float, scratch: Path) -> dict[str, float]:
    """Images a second and percentiles in milliseconds with so many requests under way.

    Raises:
        ToolError: it fails.
        ContractError: its table is not the one that is known.
    """
    table = scratch / "perf_analyzer.csv"
    table.unlink(missing_ok=True)
    argv = [
        *(program, "-m", model, "-u", address, "-i", protocol, "-b", "1", "-f", str(table)),
        f"--concurrency-range={clients}",
        f"--measurement-interval={round(seconds * MILLI)}",
        f"--max-trials={_TRIALS}",
    ]
    limit = (_TRIALS + 1) * seconds + _SLACK_SECONDS
    process.run(argv, log_file=scratch / "perf_analyzer.log", timeout_seconds=limit, what=f"{_PROGRAM}, {protocol}, {clients} clients")
    return parse(table.read_text() if table.exists() else "")


def parse(text: str) -> dict[str, float]:
    """The one row of its table, whose times are in microseconds.

    Raises:
        ContractError: it has other columns, or no row.
    """
    try:
        (row,) = csv.DictReader(io.StringIO(text))
        return {
            "images_per_second": short(float(row["Inferences/Second"])),
            **{f"p{percent}_ms": short(float(row[f"p{percent} latency"]) / MILLI) for percent in (50, 99)},
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"the table of {_PROGRAM} cannot be read: {error!r}", hint="take it off PATH for this run") from None
