"""Figures of several rounds: the median, and the spread that says what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

import numpy as np

from benchmarks.load import Load

MILLI = 1e3


@dataclass(frozen=True)
class Figure:
    """A figure of each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return median(self.rounds)

    @property
    def spread(self) -> float:
        """Half the range of the rounds over their median, as in a build record: 0.05 means that a difference of 5 % says nothing."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median if self.median else 0.0

    def json(self) -> dict[str, Any]:
        """For a report."""
        return {"median": short(self.median), "spread": round(self.spread, 4), "rounds": [short(value) for value in self.rounds]}

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """From one value a round."""
        return cls(tuple(float(value) for value in values))


def short(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")


def summary(loads: Sequence[Load], images: int = 1) -> dict[str, Any]:
    """What the windows of the rounds say together.

    Args:
        loads: one a round.
        images: pictures in each request.
    """
    return {
        "requests": sum(len(load.times) for load in loads),
        "images_per_second": Figure.of([load.rate * images for load in loads]).json(),
        **{f"p{percent}_ms": Figure.of([load.percentile(percent) * MILLI for load in loads]).json() for percent in (50, 99)},
        "mean_ms": short(float(np.mean(np.concatenate([load.times for load in loads]))) * MILLI),
        "max_ms": short(max(float(load.times.max()) for load in loads) * MILLI),
    }
