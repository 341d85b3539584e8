"""The accuracy gate: an engine's scores against the golden set of the original FP32 model."""

from services.builder.compilers.base import Array
from services.builder.precision import PRECISIONS
from services.core.errors import AccuracyError
from services.core.hints import command
from services.numerics.agreement import Agreement, Limits, measure


def compare(scores: Array, expected: Array, limits: Limits) -> Agreement:
    """Agreement of scores with the expected ones, both FP32 ``[N,classes]``.

    Raises:
        AccuracyError: the scores are of another shape.
    """
    try:
        return measure(scores, expected, limits)
    except ValueError as error:
        raise AccuracyError(str(error), hint=f"run the exporter again: {command('exporter', '--force')}") from None


def gate(scores: Array, expected: Array, precision: str) -> Agreement:
    """Agreement of a new engine's scores with the original's, within what its precision may cost.

    Raises:
        AccuracyError: the scores are of another shape.
    """
    return compare(scores, expected, PRECISIONS[precision].tolerance.limits(expected))


def demand(agreement: Agreement, what: str, hint: str = "nothing was published; take a higher PRECISION (fp32 is the highest)") -> None:
    """Let an engine through the gate, or say by which numbers it failed.

    Raises:
        AccuracyError: it disagrees with the original by more than it may.
    """
    if agreement.problems:
        raise AccuracyError(
            f"{what} disagrees with the original model on {agreement.samples} golden samples: {'; '.join(agreement.problems)}", hint=hint
        )
