"""What the reports of the benchmarks have in common: their head, a cell of a table, and the file they are written to."""

import argparse
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.load import Load
from benchmarks.published import Published


@dataclass
class Cell:
    """One variant, protocol and number of clients; an entry a round."""

    loads: list[Load] = field(default_factory=list)
    server_cores: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians over the rounds; percentiles and stalls of all requests together. Times are in milliseconds."""
        times = np.concatenate([load.times for load in self.loads])
        return {
            "requests": len(times),
            "rate": round(median(load.rate for load in self.loads), 1),
            "p50_ms": round(median(load.percentile(50) for load in self.loads) * 1e3, 2),
            "p99_ms": round(float(np.percentile(times, 99)) * 1e3, 2),
            "max_ms": round(float(times.max()) * 1e3, 2),
        }

    def served(self) -> dict[str, Any]:
        """The summary of requests to a server, with stalls and what a request costs its client."""
        requests = sum(len(load.times) for load in self.loads)
        cost = sum(load.client_cpu_seconds for load in self.loads) / requests
        return {**self.summary(), "stalls": sum(load.stalls for load in self.loads), "client_cpu_ms": round(cost * 1e3, 3)}


def command_line(module: str, description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """A command line with what all have that measure a published model in rounds."""
    found = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("folder", type=Path, help="a published model: model_repository/<model>")
    found.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, after every round")
    found.add_argument("--debug", action="store_true", help="show a traceback with an error")
    return found


def head(published: Published) -> dict[str, Any]:
    """What every report begins with."""
    name = sys.modules["__main__"].__spec__
    command = shlex.join(["python", "-m", name.name.removesuffix(".__main__") if name else "benchmarks", *sys.argv[1:]])
    return {"command": command, "model": published.config.name, "machine": machine.describe(), "versions": machine.versions()}


def heading(report: dict[str, Any]) -> list[str]:
    """Command, machine and versions, as lines."""
    host = report["machine"]
    units = ", ".join(host["vector_units"]) or "no AVX2"
    packages = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return [
        f"`{report['command']}`",
        "",
        f"{host['cores']} cores, {host['processor']} ({units}), {host['memory_gib']} GiB, load before {host['load_before']}.",
        f"{packages}.",
        "",
    ]


def save(report: dict[str, Any], file: Path | None) -> None:
    """Write the report, where a file is named."""
    if file:
        file.write_text(json.dumps(report, indent=2) + "\n")
