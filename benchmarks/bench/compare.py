"""What changed against an earlier report. Pure functions on reports as they lie in ``report.json``."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.core.errors import ContractError

FORMAT = 1
"""Of ``report.json``; another is not compared."""
KEYS = {
    "engine": ("batch", "source"),
    "closed": ("asked", "protocol", "clients"),
    "open": ("asked", "protocol", "rate"),
    "library": ("asked", "protocol"),
}
"""The sections of a report, and what tells the rows of each from one another."""
HIGHER_IS_BETTER = {"images_per_second": True, "p50_ms": False, "p99_ms": False}
LEAST = 0.05
"""A smaller difference is never marked: few rounds may agree by chance."""
_OTHER_WORK = 0.2
"""Cores; if other work took so much more or less, it is named with a difference."""

Verdict = Literal["same", "better", "worse", "unknown"]
Report = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One figure of two reports; ``change`` and ``noise`` are fractions of the earlier one, None where one has a single round."""

    section: str
    row: tuple[Any, ...]
    metric: str
    before: float
    after: float
    noise: float | None

    @property
    def change(self) -> float:
        """How much larger the later one is."""
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def verdict(self) -> Verdict:
        """``same`` where the spreads of both explain it, ``unknown`` where there is none."""
        if self.noise is None:
            return "unknown"
        if abs(self.change) <= self.noise:
            return "same"
        return "better" if (self.change > 0) == HIGHER_IS_BETTER[self.metric] else "worse"

    def json(self) -> dict[str, Any]:
        """For a report."""
        figures = {
            "before": self.before,
            "after": self.after,
            "change": round(self.change, 4),
            "noise": self.noise and round(self.noise, 4),
        }
        row = dict(zip(KEYS[self.section], self.row, strict=True))
        return {"section": self.section, **row, "metric": self.metric, **figures, "verdict": self.verdict}


def differences(before: Report, after: Report) -> list[Difference]:
    """Each figure that both reports have; what they do not share is left out."""
    old = dict(_figures(before))
    return [
        Difference(section, row, metric, old[key]["median"], found["median"], _noise(old[key], found))
        for key, found in _figures(after)
        if key in old
        for section, row, metric in (key,)
    ]


def _noise(*figures: dict[str, Any]) -> float | None:
    if any(len(figure["rounds"]) < 2 for figure in figures):
        return None
    return max(LEAST, sum(float(figure["spread"]) for figure in figures))


def _figures(report: Report) -> Iterator[tuple[tuple[str, tuple[Any, ...], str], dict[str, Any]]]:
    for section, names in KEYS.items():
        for row in report.get(section, []):
            for metric, higher in HIGHER_IS_BETTER.items():
                # At a rate that saturates the server, latency says how long the window was.
                if metric in row and (higher or not row.get("saturated")):
                    yield (section, tuple(row[name] for name in names), metric), row[metric]


def other_circumstances(before: Report, after: Report) -> list[str]:
    """What besides the measured may explain a difference, in words."""
    found = []
    for part in ("served", "settings", "versions"):
        old, new = before[part], after[part]
        found += [
            f"{part}, {name}: {old.get(name)} before, {new.get(name)} now" for name in {**old, **new} if old.get(name) != new.get(name)
        ]
    old, new = (report["processor"]["other_work"] if "processor" in report else 0.0 for report in (before, after))
    if abs(old - new) > _OTHER_WORK:
        found.append(f"other work used {old:g} cores before, {new:g} now")
    return found


def identity(report: Report) -> tuple[Any, ...]:
    """Machine, model and settings: what two reports must share to be compared without being asked to.

    With other settings p99 is another figure: of few requests it is nearly the largest.
    """
    host = report["machine"]
    return report["model"], report["settings"], host["processor"], host["cores"], host["memory_gib"], host.get("gpu", "")


def read(file: Path) -> Report:
    """Read a report.

    Raises:
        ContractError: it cannot be read, or is of another format.
    """
    try:
        report: Report = json.loads(file.read_text())
        found = report["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{file} is no report of scripts/bench: {error}", hint="name a reports/<date-time>/report.json") from None
    if found != FORMAT:
        raise ContractError(f"{file} is of format {found}, expected {FORMAT}", hint="compare with a report of this release")
    return report


def newest(folder: Path, report: Report) -> Path | None:
    """The newest whole report of the same ``identity`` in a folder of reports; None where there is none."""
    for file in sorted(folder.glob("*/report.json"), reverse=True):
        try:
            found = read(file)
            if found["complete"] and identity(found) == identity(report) and found["started"] < report["started"]:
                return file
        except (ContractError, KeyError):
            continue
    return None
