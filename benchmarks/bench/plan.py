"""What is measured, how often and for how long."""

from dataclasses import asdict, dataclass
from typing import Any

_STEP_SECONDS = 0.5
"""What a step takes besides its window: connections, warming up, statistics."""
_START_SECONDS, _CLIENT_SECONDS = 6.0, 0.6
"""What it takes to start a server, and a client process."""


@dataclass(frozen=True)
class Plan:
    """Rounds over all cells; ``seconds`` is the window of the open loop, the library gets as much, the others half of it."""

    rounds: int
    seconds: float
    clients: tuple[int, ...]
    batches: tuple[int, ...]
    rates: int
    protocols: tuple[str, ...]

    @property
    def window(self) -> float:
        """Seconds of a closed loop, and of a batch size of the engine."""
        return self.seconds / 2

    def round_seconds(self, kinds: int, *, engine: bool) -> float:
        """About how long one round takes.

        Args:
            kinds: ways of asking: pixels, files.
            engine: whether the engine alone can be measured.
        """
        ways = kinds * len(self.protocols)
        short_steps = ways * len(self.clients) + (len(self.batches) if engine else 0)
        long_steps = ways * (self.rates + 1)
        return (short_steps + long_steps) * _STEP_SECONDS + short_steps * self.window + long_steps * self.seconds

    def whole_seconds(self, kinds: int, *, engine: bool) -> float:
        """About how long all of it takes."""
        return _START_SECONDS + max(self.clients) * _CLIENT_SECONDS + self.rounds * self.round_seconds(kinds, engine=engine)

    def json(self) -> dict[str, Any]:
        """For a report."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


FULL = Plan(rounds=3, seconds=4, clients=(1, 2, 4, 8, 16), batches=(1, 2, 4, 8, 16, 32), rates=5, protocols=("http", "grpc"))
QUICK = Plan(rounds=2, seconds=1, clients=(1, 4, 16), batches=(1, 8), rates=3, protocols=("http", "grpc"))
