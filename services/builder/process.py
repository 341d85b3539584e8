"""The one place that starts another program: argument list, full log, reproducing command, last lines in the error."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.errors import ToolError
from services.core.files import writing
from services.core.stage import progress

TAIL_LINES = 20


def run(
    argv: Sequence[str], *, log_file: Path, timeout_seconds: float, what: str, hint: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed (stdout and stderr together).

    ``log_file`` gets the output, headed by the command; ``<log_file>.sh`` runs the same command again.

    Args:
        argv: program and arguments; no shell is involved.
        log_file: made or replaced.
        timeout_seconds: after which the program and its children are killed.
        what: named in the progress line.
        hint: how to mend a failure, if more is known than to read the log.
        environment: variables to set beside those that this process has.

    Raises:
        ToolError: it cannot be started, ends with another code than 0, or takes too long.
    """
    changed = environment or {}
    command = shlex.join([*(["env"] if changed else []), *(f"{name}={value}" for name, value in changed.items()), *argv])
    hint = hint or f"the full log is {log_file}; run it again by hand: {command}"
    with writing(log_file.parent):
        log_file.parent.mkdir(parents=True, exist_ok=True)
        script = log_file.with_suffix(".sh")
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)
        file = log_file.open("w", encoding="utf-8", errors="replace")
    with file, progress(what):
        file.write(f"$ {command}\n")
        file.flush()
        try:
            # A session of its own, so that a time-out or Ctrl-C reaches the children too.
            process = subprocess.Popen(
                argv, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **changed}
            )
        except OSError as error:
            raise ToolError(f"{argv[0]} cannot be started: {error.strerror}", hint=hint) from None
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{argv[0]} did not end within {timeout_seconds:g} s\n{_tail(log_file)}", hint=hint) from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ToolError(f"{argv[0]} {ended}; its last lines:\n{_tail(log_file)}", hint=hint)
    return log_file.read_text(encoding="utf-8", errors="replace")


def _tail(log_file: Path) -> str:
    with log_file.open(encoding="utf-8", errors="replace") as file:
        return "".join(f"    {line}" for line in deque(file, TAIL_LINES)).rstrip("\n")
