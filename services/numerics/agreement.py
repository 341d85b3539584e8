"""The one rule for whether scores agree with those of the original model; numpy alone.

The builder, the client and the health check import it; the builder also publishes this very file beside the served model, which
has nothing of the stack to import. Errors are absolute differences of scores, in the unit of the scores.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tolerance:
    """What a precision may cost; errors are fractions of the largest absolute score of the golden set."""

    max_error: float
    mean_error: float
    top1_agreement: float

    def limits(self, expected: Array) -> "Limits":
        """The limits for these expected scores ``[N, classes]``."""
        scale = float(np.abs(expected).max())
        return Limits(self.top1_agreement, self.max_error * scale, self.mean_error * scale)


@dataclass(frozen=True)
class Limits:
    """Least share of rows with the same first class, and the largest errors; the names are those of the build record."""

    min_top1_agreement: float
    max_error_tolerance: float
    mean_error_tolerance: float

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Limits":
        """The limits in the ``accuracy`` of a build record."""
        return cls(*(float(record[name]) for name in ("min_top1_agreement", "max_error_tolerance", "mean_error_tolerance")))

    def of_part(self, rows: int, total: int) -> "Limits":
        """What the limits of a whole of ``total`` rows imply for any ``rows`` of them: whatever passes as a whole passes in parts."""
        forgiven = math.floor((1 - self.min_top1_agreement) * total + 1e-9)
        mean = min(self.max_error_tolerance, self.mean_error_tolerance * total / rows)
        return Limits(max(0.0, 1 - forgiven / rows), self.max_error_tolerance, mean)


@dataclass(frozen=True)
class Agreement(Limits):
    """What was measured on ``samples`` rows, with the limits that it was measured against."""

    samples: int
    top1_agreement: float
    max_error: float
    mean_error: float

    @property
    def problems(self) -> list[str]:
        """Which limits are broken, in words; empty where the scores agree."""
        found = []
        if self.top1_agreement < self.min_top1_agreement - 1e-9:
            found.append(f"top-1 agreement is {self.top1_agreement:.1%}, expected at least {self.min_top1_agreement:.1%}")
        # Written so that NaN fails.
        if not self.max_error <= self.max_error_tolerance:
            found.append(f"the largest error is {self.max_error:.3g}, expected at most {self.max_error_tolerance:.3g}")
        if not self.mean_error <= self.mean_error_tolerance:
            found.append(f"the mean error is {self.mean_error:.3g}, expected at most {self.mean_error_tolerance:.3g}")
        return found

    def __str__(self) -> str:
        """The agreement in one line."""
        return (
            f"top-1 agreement {self.top1_agreement:.1%}, largest error {self.max_error:.2g} (tolerance {self.max_error_tolerance:.2g}), "
            f"mean error {self.mean_error:.2g} on {self.samples} golden samples"
        )


def measure(found: Array, expected: Array, limits: Limits) -> Agreement:
    """Compare scores with the expected ones, both FP32 ``[N, classes]``.

    The first class agrees where it is the original's, or one that the original scores within the largest error allowed of its
    own first: between two classes that close, rounding decides. A row with NaN or infinity agrees in nothing.

    Raises:
        ValueError: the scores are of another shape.
    """
    if found.shape != expected.shape:
        raise ValueError(f"the scores have the shape {list(found.shape)}, expected {list(expected.shape)}")
    finite = np.isfinite(found).all(axis=1)
    error = np.abs(found.astype(np.float64) - expected)
    rows = np.arange(len(expected))
    lost = expected.max(axis=1) - expected[rows, np.where(np.isfinite(found), found, -np.inf).argmax(axis=1)]
    whole = bool(finite.all())
    return Agreement(
        limits.min_top1_agreement,
        limits.max_error_tolerance,
        limits.mean_error_tolerance,
        samples=len(expected),
        top1_agreement=float(np.mean(finite & (lost <= limits.max_error_tolerance))),
        max_error=float(error.max()) if whole else math.inf,
        mean_error=float(error.mean()) if whole else math.inf,
    )
