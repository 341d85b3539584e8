"""How far a long run is: a line that is rewritten in place on a terminal, else a line in the log every few seconds."""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TextIO

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
LOG_SECONDS = 5.0


class Progress:
    """Counts pictures; a run of a second shows nothing.

    Args:
        total: how many there are.
        terminal: where to rewrite a line in place; None for lines in the log.
        clock: seconds, as ``time.monotonic`` counts them.
    """

    def __init__(self, total: int, terminal: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._done = 0
        self._terminal = terminal
        self._clock = clock
        self._started = clock()
        self._next = self._started + (LOG_SECONDS if terminal is None else QUIET_SECONDS)
        self._shown = ""

    def advance(self, count: int = 1) -> None:
        """Count some more."""
        self._done += count
        now = self._clock()
        if self._done >= self._total or now < self._next:
            return
        if self._terminal is None:
            log.info("%s", self._text(now))
            self._next = now + LOG_SECONDS
        else:
            self._show(self._text(now))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the line away while something else is written to the terminal, and put it back."""
        shown = self._shown
        self.close()
        yield
        if shown:
            self._show(shown)

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            self._show("")

    def _text(self, now: float) -> str:
        rate = self._done / max(now - self._started, 1e-3)
        left = round((self._total - self._done) / rate)
        speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{self._done} of {self._total} pictures, {speed}/s, {left // 60}:{left % 60:02} left"

    def _show(self, text: str) -> None:
        assert self._terminal is not None  # noqa: S101 - nothing is ever shown without one
        text = text[: shutil.get_terminal_size().columns - 1]  # a longer one would go on in a second line, which stays
        self._terminal.write(f"\r{text:<{len(self._shown)}}" + ("" if text else "\r"))
        self._terminal.flush()
        self._shown = text
