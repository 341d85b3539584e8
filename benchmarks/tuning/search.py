"""The search: which settings, and how many clients, give the most pictures a second within a latency.

It measures by a function that it is given, and knows nothing of servers. Machines are noisy: a setting is judged only by pairs of
measurements that were taken one right after the other, and taken only where the gain is more than the pairs differ among themselves.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from benchmarks.load import Load
from benchmarks.tuning.choice import Choice, Ladders
from services.core.errors import ServerError

Measure = Callable[[Choice, int], Load]
"""Measures a choice with a number of clients for about a second."""

ROUNDS = 4
PROOF_ROUNDS = 10
"""Where nothing is better, one run in a hundred says so all the same (a simulation, whatever the noise)."""
LEAST_GAIN = 0.02
_GROWTH = 1.03
_PATIENCE = 2
"""Doublings of the clients that may give less than this growth, before it is left at that."""
_AS_GOOD = 0.98
_HOPELESS = 0.6
_FEWER = 0.8
_ATTEMPTS = 3


class UnfitError(ServerError):
    """The server goes on, but does not serve a choice."""


@dataclass(frozen=True)
class Point:
    """A choice under a number of clients that each ask one picture at a time; ``p99`` in seconds."""

    choice: Choice
    clients: int
    rate: float
    p99: float

    def within(self, bound: float) -> bool:
        """Whether the latency is what was asked for."""
        return self.p99 <= bound


@dataclass(frozen=True)
class Duel:
    """Two points measured alternately.

    ``ratios`` are those of pictures a second; or of the latencies, ``by_latency``, where one client alone does not get what is asked for.
    """

    before: Point
    after: Point
    ratios: tuple[float, ...]
    by_latency: bool

    @property
    def gain(self) -> float:
        """How much better the second is: 0.1 for a tenth."""
        return median(self.ratios) - 1

    @property
    def spread(self) -> float:
        """Half the range of the ratios; of six and more the extreme ones do not count, for a machine has its hiccups."""
        inner = sorted(self.ratios)[1:-1] if len(self.ratios) >= 6 else self.ratios
        return (max(inner) - min(inner)) / 2

    def won(self, bound: float) -> bool:
        """Whether the second is better beyond doubt, and not by leaving the bound."""
        allowed = self.after.within(bound) or (self.by_latency and not self.before.within(bound))
        return allowed and self.gain > max(self.spread, LEAST_GAIN)

    def __str__(self) -> str:
        what = "p99" if self.by_latency else "pictures/s"
        times = f"x{1 + self.gain:.2f} ±{self.spread:.2f} ({what})"
        return f"{self.before.rate:.0f} -> {self.after.rate:.0f} pictures/s, p99 {self.after.p99 * 1e3:.0f} ms, {times}"


class Search:
    """Coordinate descent from what is published.

    Args:
        measure: see ``Measure``; where it raises UnfitError, the server did not take the choice.
        ladders: which settings and values.
        most_clients: never more than these.
        left: seconds until the search has to end.
        say: told what was tried, and what came of it.
    """

    def __init__(
        self, measure: Measure, ladders: Ladders, most_clients: int, left: Callable[[], float], say: Callable[[str], object]
    ) -> None:
        self._measure, self._ladders, self._most, self._left, self._say = measure, ladders, most_clients, left, say
        self._bound = ladders.bound
        self.tried: dict[Choice, str] = {}
        self.finished = True

    def run(self, published: Choice) -> Point:
        """The best that was found; ``published`` itself where nothing was better."""
        best = self.settle(published)
        self.tried[published] = f"{best.rate:.0f} pictures/s, p99 {best.p99 * 1e3:.0f} ms, clients: {best.clients}"
        self._say(f"in force: {self.tried[published]}")
        best = self._consider(best, self._ladders.defaults(published)) or best
        improved = True
        while improved and self.finished:
            improved = False
            for name, step in itertools.product(self._ladders.names(), (0, 1, -1)):
                while (better := self._step(best, name, step)) is not None:
                    best, improved = better, True
        return best

    def _step(self, best: Point, name: str, step: int) -> Point | None:
        """The point one step along a setting (0: at its default), where it is better."""
        values = self._ladders.values(name, best.choice)
        place = values.index(getattr(best.choice, name)) + step
        if step and not 0 <= place < len(values):
            return None
        value = values[place] if step else getattr(self._ladders.defaults(best.choice), name)
        return self._consider(best, best.choice.with_(name, value))

    def _consider(self, best: Point, choice: Choice) -> Point | None:
        """The point of a choice, where it is better; None where it is not, is known, or there is no time."""
        if choice in self.tried:
            return None
        if self._left() <= 0:
            self.finished = False
            return None
        found, better = self._try(best, choice)
        self.tried[choice] = found
        self._say(f"{choice.against(best.choice)}: {found}{': taken' if better else ''}")
        return better

    def _try(self, best: Point, choice: Choice) -> tuple[str, Point | None]:
        try:
            point = self.settle(choice, best.clients)
        except UnfitError as error:
            return f"the server does not take it: {error}", None
        if point.rate < _HOPELESS * best.rate and point.clients >= best.clients:
            return f"{point.rate:.0f} pictures/s against {best.rate:.0f}, p99 {point.p99 * 1e3:.0f} ms", None
        duel = self.duel(best, point, ROUNDS)
        return str(duel), duel.after if duel.won(self._bound) else None

    def settle(self, choice: Choice, start: int = 1) -> Point:
        """The number of clients with the most pictures a second within the bound; one client where none is.

        Doubled from ``start`` while the latency allows it and it gives more, halved where it does not; then in between. Of numbers that
        are as good the smallest is taken.
        """
        seen: dict[int, Point] = {}

        def good(clients: int) -> bool:
            if clients not in seen:
                seen[clients] = point_of(choice, clients, [self._measure(choice, clients)])
            return seen[clients].within(self._bound)

        clients, bad = min(start, self._most), 0
        while not good(clients) and clients > 1:
            clients, bad = clients // 2, clients
        idle = 0
        while not bad and clients < self._most and good(clients) and idle < _PATIENCE:
            most, more = max(point.rate for point in seen.values()), min(2 * clients, self._most)
            if not good(more):
                bad = more
            else:
                clients, idle = more, 0 if seen[more].rate > _GROWTH * most else idle + 1
        while good(clients) and bad - clients > max(1, clients // 4):
            middle = (clients + bad) // 2
            clients, bad = (middle, bad) if good(middle) else (clients, middle)
        within = [point for point in seen.values() if point.within(self._bound)]
        if not within:
            return seen[1]
        most = max(point.rate for point in within)
        return min((point for point in within if point.rate >= _AS_GOOD * most), key=lambda point: point.clients)

    def prove(self, published: Choice, best: Point) -> Duel:
        """The final duel. What is in force gets the better of its own number of clients and that of ``best``: no gain of luck."""
        before = self.settle(published, best.clients)
        if before.clients != best.clients:
            both = self.duel(before, replace(before, clients=best.clients), ROUNDS)
            before = max(both.before, both.after, key=lambda point: (point.within(self._bound), point.rate))
        return self.duel(before, best, PROOF_ROUNDS)

    def duel(self, before: Point, after: Point, rounds: int) -> Duel:
        """Measure two points alternately; those that turn out to be beyond the bound are measured again with fewer clients."""
        for _ in range(_ATTEMPTS):
            found = self._rounds(before, after, rounds)
            before, after = self._fewer(found.before), self._fewer(found.after)
            if (before, after) == (found.before, found.after):
                break
        return found

    def _fewer(self, point: Point) -> Point:
        if point.within(self._bound) or point.clients == 1:
            return point
        return replace(point, clients=int(point.clients * _FEWER))

    def _rounds(self, before: Point, after: Point, rounds: int) -> Duel:
        sides: tuple[list[Load], list[Load]] = ([], [])
        for number in range(rounds):
            for side, point in [(0, before), (1, after)][:: 1 if number % 2 == 0 else -1]:
                sides[side].append(self._measure(point.choice, point.clients))
            if number == 1 and rounds == ROUNDS and self._compared(before, after, *sides).gain <= LEAST_GAIN:
                break  # it would hardly win by what is left
        return self._compared(before, after, *sides)

    def _compared(self, before: Point, after: Point, first: list[Load], second: list[Load]) -> Duel:
        before, after = point_of(before.choice, before.clients, first), point_of(after.choice, after.clients, second)
        by_latency = any(point.clients == 1 and not point.within(self._bound) for point in (before, after))
        pairs = zip(first, second, strict=True)
        ratios = (one.percentile(99) / other.percentile(99) if by_latency else other.rate / one.rate for one, other in pairs)
        return Duel(before, after, tuple(ratios), by_latency)


def point_of(choice: Choice, clients: int, loads: Sequence[Load]) -> Point:
    """Median of the rates; the percentile is that of all requests together."""
    p99 = float(np.percentile(np.concatenate([load.times for load in loads]), 99))
    return Point(choice, clients, median(load.rate for load in loads), p99)
