"""A speed from times in several rounds, with the spread that says what it is worth."""

from collections.abc import Sequence

import numpy as np

from services.core.record import Speed

ROUNDS = 7


def speed(batch: int, rounds: Sequence[Sequence[float]]) -> Speed:
    """The speed at a batch size.

    One round's median hides a pause of the machine, the median of rounds a slow second; what the rounds still differ by is noise.

    Args:
        batch: pictures per run.
        rounds: times of the runs in milliseconds, of each round.
    """
    medians = np.array([np.median(times) for times in rounds])
    median = float(np.median(medians))
    return Speed(
        batch=batch,
        images_per_second=batch * 1000 / median,
        median_ms=median,
        p99_ms=float(np.percentile(np.concatenate([*map(np.asarray, rounds)]), 99)),
        spread=float(np.ptp(medians)) / 2 / median,
    )


def faster(one: Speed, other: Speed) -> bool:
    """``one`` is faster than ``other`` by more than their spreads explain."""
    return one.images_per_second * (1 - one.spread) > other.images_per_second * (1 + other.spread)
