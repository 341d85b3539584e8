"""A server as a process and all that it starts: ready, measured, and gone for certain afterwards."""

import contextlib
import ctypes
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.load import Connect
from services.core.errors import AccuracyError, ServerError

READY_SECONDS = 120
_STOP_SECONDS = 10
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of whatever a server leaves behind when it ends, so that it can be found and ended as well."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def children(parents: Mapping[int, int], root: int) -> set[int]:
    """All processes below ``root``; ``parents`` has the parent of each process."""
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if (parent == root or parent in found) and pid not in found}:
        found |= more
    return found


def cpu_seconds() -> float:
    """Processor time of this process and of all that run below it, with what has ended below those."""
    ticks = 0
    for pid in (os.getpid(), *children(parents(), os.getpid())):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13])) + (sum(map(int, fields[13:15])) if pid != os.getpid() else 0)
    return ticks / os.sysconf("SC_CLK_TCK")


def parents() -> dict[int, int]:
    """Of every process of this machine that has not ended."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                found[int(stat.parent.name)] = int(fields[1])
    return found


class Family:
    """What has been started below this process since this object was made."""

    def __init__(self) -> None:
        self._before = children(parents(), os.getpid())

    def pids(self) -> set[int]:
        """Those that run."""
        return children(parents(), os.getpid()) - self._before

    def memory(self) -> int:
        """Bytes of memory; what several processes share is counted once (PSS)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith("Pss:")).split()[1]) << 10
        return total

    def end(self) -> None:
        """Kill all of it."""
        ended: set[int] = set()
        while pids := self.pids():
            ended |= pids
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for pid in ended:  # those that were adopted have nobody else to wait for them
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a folder until the block ends, with all that it starts."""
    family = Family()
    with log.open("wb") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, env=dict(environment), cwd=folder, start_new_session=True, **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        family.end()


def wait(process: subprocess.Popen[bytes], connect: Connect, address: str, picture: object, log: Path) -> None:
    """Until the server answers a picture; what it refuses meanwhile is asked again.

    Raises:
        ServerError: it ends, or does not answer in time.
        AccuracyError: its answer is wrong.
    """
    deadline, said = time.monotonic() + READY_SECONDS, ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client = connect(address, picture)
            try:
                picture.check(client.answer(client.exchange()))  # type: ignore[attr-defined]
            finally:
                client.close()
        except AccuracyError:
            raise
        except (ServerError, OSError, http.client.HTTPException, ValueError, KeyError) as error:
            said = str(error)
            time.sleep(0.2)
        else:
            return
    what = "did not get ready" if process.poll() is None else f"ended with {process.returncode}"
    lines = log.read_text(errors="replace").splitlines()[-5:]
    raise ServerError(f"it {what}: {said}; its log ends with: " + " | ".join(line[:200] for line in lines))
