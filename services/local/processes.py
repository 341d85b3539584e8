"""Processes: run one to its end, whatever interrupts us; look whether one runs; stop it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

TELL_SECONDS = 5.0
"""How often somebody who waits is told that it goes on."""
GRACE_SECONDS = 5.0
"""What a process gets to end, beyond what it needs by itself, before it is killed."""


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, output: IO[str] | None = None) -> int:
    """Run a program to its end; one that was killed by a signal gives 128 and the signal's number, as in a shell.

    What it prints goes to ``output``, or where our own goes.

    Whatever interrupts us (Ctrl-C, SIGTERM) reaches it as SIGTERM, and it gets the time to clean up. Ctrl-C itself it does not
    see: while it still imports modules, it could only end in a traceback.
    """
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=output, preexec_fn=_ignore_ctrl_c) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return code if code >= 0 else 128 - code


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def runs(pid: int, word: str) -> bool:
    """Whether a process of that number runs whose command line has ``word``; what ended and was not reaped has none."""
    try:
        return word in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return False


def stop(pid: int, word: str, *, seconds: float) -> None:
    """Ask a process to end whose command line has ``word``, and kill it where it has not after ``seconds``."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, GRACE_SECONDS)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not runs(pid, word):
                return
            time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody listens on a port of the loopback address."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
