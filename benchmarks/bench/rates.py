"""When requests are due, and at which rates: the pure part of the open loop."""

import numpy as np
import numpy.typing as npt

_STEPS = (1, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2)
"""The preferred numbers of series E12: each a fifth above the one before."""
SHARES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2)
"""Of the throughput of the closed loop, which the chosen rates are near; the last saturates the server."""


def schedule(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """The moments, in seconds and ascending, at which requests are due.

    They are those of a Poisson process that has ``rate`` x ``seconds`` arrivals, one at least: given their number, its arrivals are
    uniform and independent. With the number left to chance, the rate of a short window would waver by more than what is measured.
    """
    number = max(1, round(rate * seconds))
    return np.sort(np.random.default_rng(seed).uniform(0, seconds, number))


def rounded(rate: float) -> float:
    """The nearest of a fixed ladder of rates (1, 1.2, 1.5 ... 8.2, 10, 12 ...), so that reports have rates in common."""
    power = 10.0 ** np.floor(np.log10(rate))
    rungs = [step * power for step in (*_STEPS, 10)]
    return float(f"{min(rungs, key=lambda rung: abs(np.log(rung / rate))):.3g}")


def rates(capacity: float, number: int) -> list[float]:
    """From a third of ``capacity`` to a little more than all of it, in requests a second and ascending.

    Args:
        capacity: what the server can give.
        number: of rates; they are fewer where two fall together.
    """
    places = np.linspace(0, len(SHARES) - 1, number) if number > 1 else np.array([len(SHARES) // 2])
    return sorted({rounded(capacity * share) for share in np.interp(places, range(len(SHARES)), SHARES)})
