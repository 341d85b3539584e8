"""A long run says how far it is, where people look and nowhere else."""

import io
import logging

import pytest

from services.client.progress import Progress


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(written: str) -> str:
    """What a terminal shows of the last line at the end."""
    line: list[str] = []
    column = 0
    for character in written:
        if character == "\r":
            column = 0
        else:
            line[column : column + 1] = [character]
            column += 1
    return "".join(line).rstrip()


@pytest.fixture
def clock():
    return Clock()


def test_a_line_in_place_on_a_terminal(clock):
    screen = io.StringIO()
    progress = Progress(350, screen, clock)
    clock.now += 2
    progress.advance(40)
    assert shown(screen.getvalue()) == "40 of 350 pictures, 20/s, 0:16 left"
    clock.now += 2
    progress.advance(300)
    assert shown(screen.getvalue()) == "340 of 350 pictures, 85/s, 0:00 left"
    progress.advance(10)
    progress.close()
    assert shown(screen.getvalue()) == ""
    assert "\n" not in screen.getvalue()


def test_a_slow_run_shows_minutes(clock):
    screen = io.StringIO()
    progress = Progress(100, screen, clock)
    clock.now += 20
    progress.advance(10)
    assert shown(screen.getvalue()) == "10 of 100 pictures, 0.5/s, 3:00 left"


def test_the_line_makes_room_for_others(clock):
    screen = io.StringIO()
    progress = Progress(350, screen, clock)
    clock.now += 2
    progress.advance(40)
    with progress.aside():
        assert shown(screen.getvalue()) == ""
    assert shown(screen.getvalue()).startswith("40 of 350")


def test_a_short_run_shows_nothing(clock, caplog):
    caplog.set_level(logging.INFO)
    screen = io.StringIO()
    for terminal in (screen, None):
        progress = Progress(3, terminal, clock)
        clock.now += 0.5
        progress.advance(2)
        with progress.aside():
            pass
        clock.now += 60
        progress.advance(1)
        progress.close()
    assert screen.getvalue() == ""
    assert not caplog.records


def test_a_narrow_terminal_is_not_wrapped(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = io.StringIO()
    progress = Progress(350, screen, clock)
    clock.now += 2
    progress.advance(40)
    assert shown(screen.getvalue()) == "40 of 350 pictures,"


def test_off_a_terminal_a_line_in_the_log_now_and_then(clock, caplog):
    caplog.set_level(logging.INFO)
    progress = Progress(1000, None, clock)
    for _ in range(12):
        clock.now += 1
        progress.advance(8)
    progress.close()
    assert caplog.messages == ["40 of 1000 pictures, 8.0/s, 2:00 left", "80 of 1000 pictures, 8.0/s, 1:55 left"]
