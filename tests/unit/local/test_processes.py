"""Running a program to its end, whatever interrupts the one who runs it."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from services.local import processes

STAGE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"cleaned up"), sys.exit(9)))
print("ready", flush=True)
time.sleep(60)
"""
RUN = """
import signal, sys
from pathlib import Path
from services.local import processes
def leave(*_): raise SystemExit(143)
signal.signal(signal.SIGTERM, leave)
processes.run([sys.executable, "-c", *sys.argv[1:]], {}, Path.cwd())
"""


@pytest.mark.parametrize(("code", "expected"), [("import sys; sys.exit(5)", 5), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_is_the_shells(tmp_path, code, expected):
    assert processes.run([sys.executable, "-c", code], {}, tmp_path) == expected


def test_a_sigterm_is_handed_on_and_waited_for(start_python):
    with start_python(RUN, STAGE) as process:
        assert process.stdout.readline()
        process.terminate()
        assert "cleaned up" in process.communicate()[0]
    assert process.returncode == 143


def test_ctrl_c_which_the_terminal_sends_to_all_ends_the_program_as_a_sigterm_does(root):
    with subprocess.Popen(
        [sys.executable, "-c", RUN, STAGE],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert "cleaned up" in process.communicate()[0]
    assert process.returncode == -signal.SIGINT


def test_stop_kills_what_does_not_listen():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        processes.stop(process.pid, "sleep", seconds=0.1)
        assert process.wait() == -signal.SIGKILL
    processes.stop(process.pid, "sleep", seconds=0.1)


def test_a_process_runs_only_under_its_own_command_line():
    assert processes.runs(os.getpid(), "python")
    assert not processes.runs(os.getpid(), "services.local.supervise")
    assert not processes.runs(2**22 + 1, "")


def test_whether_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert processes.listens(port)
    assert not processes.listens(port)
