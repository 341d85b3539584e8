"""The supervisor with programs of one line in the place of the server."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from services.local.processes import runs

SUPERVISE = """
import sys
from services.core import log
from services.local import supervise
log.set_up("supervisor")
supervise.RAN_SECONDS = 0.3
sys.exit(supervise.Supervisor([sys.executable, "-c", sys.argv[1], sys.argv[2]], exit_seconds=float(sys.argv[3])).run())
"""
NOTE = "import os, sys, time, signal; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n');"


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


@pytest.fixture
def supervise(start_python, notes):
    """Starts a supervisor of a program that first notes its process; what is left of both is killed."""
    started = []

    def start(code: str, *, exit_seconds: float = 20) -> subprocess.Popen[str]:
        started.append(start_python(SUPERVISE, NOTE + code, notes, exit_seconds))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def pids(notes: Path, count: int) -> list[int]:
    """The processes that noted themselves, when there are so many."""
    while True:
        found = notes.read_text().split() if notes.exists() else []
        if len(found) >= count:
            return [int(pid) for pid in found]
        time.sleep(0.01)


def wait_for_end(pid: int) -> None:
    while runs(pid, "python"):
        time.sleep(0.01)


def test_what_never_ran_for_a_while_is_given_up_after_three_restarts(supervise, notes):
    process = supervise("sys.exit(7)")
    said = process.communicate()[1]
    assert process.returncode == 7
    assert len(pids(notes, 4)) == 4
    assert said.count("starting it again") == 3
    assert "ended with 7 after 3 restarts" in said


def test_what_ran_for_a_while_is_not_given_up(supervise, notes):
    process = supervise("time.sleep(0.4 if len(open(sys.argv[1]).readlines()) == 1 else 0); sys.exit(7)")
    pids(notes, 5)
    process.terminate()
    said = process.communicate()[1]
    assert [line.rpartition("in ")[2] for line in said.splitlines()][:4] == ["0.2 s", "0.4 s", "0.8 s", "1.6 s"]
    assert "restarts" not in said


def test_a_good_end_is_an_end(supervise, notes):
    process = supervise("")
    process.communicate()
    assert (process.returncode, len(pids(notes, 1))) == (0, 1)


def test_a_killed_one_is_started_again_and_a_stop_is_handed_on(supervise, notes):
    process = supervise("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('ready', flush=True); time.sleep(60)")
    process.stdout.readline()
    os.kill(pids(notes, 1)[0], signal.SIGKILL)
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 3
    assert len(pids(notes, 2)) == 2


def test_one_that_does_not_stop_is_killed(supervise):
    process = supervise("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)", exit_seconds=0.2)
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL


def test_what_a_crashed_one_leaves_behind_is_ended(supervise, notes):
    """It would hold the ports."""
    child = "import subprocess; child = subprocess.Popen(['sleep', '60']); open(sys.argv[1] + '.child', 'a').write(f'{child.pid} ');"
    process = supervise(child + "os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL
    for pid in notes.with_name("notes.child").read_text().split():
        assert not runs(int(pid), "sleep")


def test_a_killed_supervisor_leaves_no_server(supervise, notes):
    process = supervise("time.sleep(60)")
    (pid,) = pids(notes, 1)
    process.kill()
    process.communicate()
    wait_for_end(pid)
