"""Keeps the server running as Docker does, but for a few times at most: ``python -m services.local.supervise``."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from services.core import log as logging_setup
from services.local.processes import GRACE_SECONDS

log = logging.getLogger(__name__)

RESTARTS = 3
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """Starts a program again when it fails, a few times at most, and hands a stop on to it."""

    def __init__(self, command: list[str], *, exit_seconds: float) -> None:
        self._command, self._exit_seconds = command, exit_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Return the exit code of the program's last run."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._kill)
        restarts = 0
        while True:
            code = self._run_once()
            if code == 0 or self._stopping or restarts == RESTARTS:
                break
            restarts += 1
            log.warning("the server ended with %d; starting it again (%d of %d)", code, restarts, RESTARTS)
            time.sleep(0.1 * 2**restarts)
        if code and not self._stopping:
            log.error("error: the server ended with %d after %d restarts", code, restarts)
        return code

    def _run_once(self) -> int:
        if self._stopping:
            return 0
        self._process = subprocess.Popen(self._command, process_group=0, preexec_fn=_end_with_parent)
        if self._stopping:  # the signal came while it was started
            self._process.terminate()
        code = self._process.wait()
        self._end_group()
        return code if code >= 0 else 128 - code

    def _end_group(self) -> None:
        """What the program started must not outlive it: it would hold the ports."""
        assert self._process is not None  # noqa: S101 - it was just started
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        signal.setitimer(signal.ITIMER_REAL, self._exit_seconds)
        if self._process is not None:
            self._process.terminate()

    def _kill(self, _signal: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            self._process.kill()


def _end_with_parent() -> None:
    """Let the kernel stop the program where its supervisor is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Supervise the server."""
    logging_setup.set_up("supervisor", style=os.environ.get("LOG_FORMAT") or "text")
    exit_seconds = float(os.environ.get("EXIT_TIMEOUT_SECONDS") or 10) + GRACE_SECONDS
    return Supervisor([sys.executable, "-m", "services.triton.launch"], exit_seconds=exit_seconds).run()


if __name__ == "__main__":
    sys.exit(main())
