"""The accuracy gate: an engine's scores against the golden set of the original FP32 model."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.builder.compilers.base import Array
from services.core.errors import AccuracyError, ContractError
from services.core.record import Accuracy


@dataclass(frozen=True)
class Tolerance:
    """Errors are fractions of the largest absolute score of the golden set."""

    max_error: float
    mean_error: float
    top1_agreement: float


# FP32 leaves room for TF32, which TensorRT uses for it from Ampere on (10 bits of mantissa).
TOLERANCES = {
    "fp32": Tolerance(max_error=0.01, mean_error=0.001, top1_agreement=1.0),
    "fp16": Tolerance(max_error=0.03, mean_error=0.003, top1_agreement=1.0),
    "bf16": Tolerance(max_error=0.15, mean_error=0.01, top1_agreement=0.95),
    "int8": Tolerance(max_error=0.35, mean_error=0.02, top1_agreement=0.85),
    "fp8": Tolerance(max_error=0.35, mean_error=0.02, top1_agreement=0.85),
}


def load_golden(path: Path) -> tuple[Array, Array]:
    """Inputs (UINT8 ``[N,H,W,3]`` or FP32 ``[N,3,H,W]``) and FP32 scores ``[N,classes]`` of the golden set.

    Raises:
        ContractError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as golden:
            return golden["inputs"], golden["scores"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ContractError(f"{path} is no golden set: {error}", hint="run the exporter again with --force") from None


def compare(scores: Array, expected: Array, precision: str) -> Accuracy:
    """Agreement of scores with the expected ones, both FP32 ``[N,classes]``.

    Top-1 agrees where the engine's first class is the original's, or one that the original scores within the tolerance of its
    own first: between two classes that close, rounding decides.

    Raises:
        AccuracyError: the scores are of another shape.
    """
    if scores.shape != expected.shape:
        raise AccuracyError(
            f"the scores have the shape {list(scores.shape)}, the original model's {list(expected.shape)}", hint="run the exporter again"
        )
    tolerance = TOLERANCES[precision]
    scale = float(np.abs(expected).max())
    error = np.abs(scores.astype(np.float64) - expected)
    finite = bool(np.isfinite(scores).all())
    rows = np.arange(len(expected))
    lost = expected.max(axis=1) - expected[rows, scores.argmax(axis=1)]
    return Accuracy(
        samples=len(expected),
        top1_agreement=float(np.mean(lost <= tolerance.max_error * scale)) if finite else 0.0,
        max_error=float(error.max()) if finite else float("inf"),
        mean_error=float(error.mean()) if finite else float("inf"),
        min_top1_agreement=tolerance.top1_agreement,
        max_error_tolerance=tolerance.max_error * scale,
        mean_error_tolerance=tolerance.mean_error * scale,
    )


def demand(accuracy: Accuracy, what: str) -> None:
    """Let an engine through the gate, or say by which numbers it failed.

    Raises:
        AccuracyError: it disagrees with the original by more than the tolerance of its precision.
    """
    failures = []
    if accuracy.top1_agreement < accuracy.min_top1_agreement:
        failures.append(f"top-1 agreement is {accuracy.top1_agreement:.1%}, expected at least {accuracy.min_top1_agreement:.1%}")
    if not accuracy.max_error <= accuracy.max_error_tolerance:
        failures.append(f"the largest error is {accuracy.max_error:.3g}, expected at most {accuracy.max_error_tolerance:.3g}")
    if not accuracy.mean_error <= accuracy.mean_error_tolerance:
        failures.append(f"the mean error is {accuracy.mean_error:.3g}, expected at most {accuracy.mean_error_tolerance:.3g}")
    if failures:
        raise AccuracyError(
            f"{what} disagrees with the original model on {accuracy.samples} golden samples: {'; '.join(failures)}",
            hint="nothing was published; take a higher PRECISION (fp32 is the highest)",
        )


def summary(accuracy: Accuracy) -> str:
    """The agreement in one line."""
    return (
        f"top-1 agreement {accuracy.top1_agreement:.1%}, largest error {accuracy.max_error:.2g} "
        f"(tolerance {accuracy.max_error_tolerance:.2g}), mean error {accuracy.mean_error:.2g} on {accuracy.samples} golden samples"
    )
