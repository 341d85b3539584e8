"""The regions in shared memory through which Triton and its Python models talk: other people's pixels are in them.

Standard library alone: the builder publishes this very file beside the served model, which has nothing of the stack to import.
"""

import contextlib
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the place is the kernel's


def make_private() -> None:
    """Called in a Python model's process before it gets its first request: no other account may read its regions.

    Triton makes them readable for everybody, whatever the umask: Boost.Interprocess sets the mode afterwards.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line[line.find("/") :] if "/" in line else ""
        if path.startswith(f"{SHARED_MEMORY}/"):
            Path(path).chmod(0o600)


def remove(prefix: str) -> None:
    """Those of a server that has ended, which cannot do it itself if it was killed."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # it is somebody else's, or the server has removed it at last
            region.unlink()
