"""How many processors there are to use, and how a served model's instances and threads share them; the standard library alone.

The builder publishes this very file beside the served model, which has nothing of the stack to import. What the policy rests on was
measured: docs/benchmarks.md. The affinity mask does not tell of a container's limit (Docker's ``cpus:``), which is a quota of its cgroup.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SPIN_US = 200
"""How long a thread with nothing to do spins before it sleeps, in microseconds, where there are processors to spare."""

_MANY = 16
_FEW = 2
_MOST_ON_GPU = 8


@dataclass(frozen=True)
class Cpus:
    """Processors that a process may use; ``limited`` where a quota of time allows less than the affinity mask."""

    number: int
    limited: bool = False

    def __str__(self) -> str:
        return f"{self.number} processor{'s' * (self.number > 1)}{' (a quota of their time is set)' * self.limited}"


@dataclass(frozen=True)
class Threads:
    """Of one ONNX Runtime session: how many, and for how many microseconds one that has nothing to do spins before it sleeps."""

    number: int
    spin_us: int

    def __str__(self) -> str:
        verb = f"spin{'s' * (self.number == 1)} for {self.spin_us} microseconds" if self.spin_us else f"sleep{'s' * (self.number == 1)}"
        return f"{self.number} ONNX Runtime thread{'s' * (self.number > 1)}, which {verb} when idle"


def instances(cpus: Cpus) -> int:
    """Execution instances of a model: two where each gets eight processors, beyond which one picture hardly gets faster; else one."""
    return 2 if cpus.number >= _MANY else 1


def image_instances(cpus: Cpus, on_gpu: bool) -> int:
    """Processes that decode pictures, of each GPU if they do it there.

    One decodes while another waits for the engine, and few threads share one lock of Python's. More of them where a GPU decodes: they
    wait for their turn there.
    """
    if on_gpu:
        return min(_MOST_ON_GPU, max(2, cpus.number // 2))
    return 4 if cpus.number >= _MANY else 2


def threads(cpus: Cpus, instances: int, asked: int = 0) -> Threads:
    """What one of ``instances`` takes; ``asked`` sets the number, 0 leaves it to the policy: an equal share.

    A thread that spins takes a processor from whoever has work for it. So none does on two processors, which server and clients need as
    well, nor under a quota, which it would use up, nor where there are more threads than processors.
    """
    number = asked or max(1, cpus.number // instances)
    spare = cpus.number > _FEW and not cpus.limited and number * instances <= cpus.number
    return Threads(number, SPIN_US if spare else 0)


def available(affinity: int, quotas: list[float]) -> Cpus:
    """The processors of an affinity mask, or as many as the tightest quota (in processors) keeps busy, where that is less."""
    return Cpus(max(1, min([affinity, *map(math.ceil, quotas)])), limited=any(quota < affinity for quota in quotas))


def quota(text: str) -> float | None:
    """Processors that quota and period allow, in microseconds as ``cpu.max`` has them; None where there is no limit (``max``, -1)."""
    words = text.split()
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def groups(membership: str) -> Iterator[PurePosixPath]:
    """Where below ``/sys/fs/cgroup`` a limit may lie, by ``/proc/self/cgroup``: the process's groups of processors and all above them.

    A container may see its group under the host's name, while the group's files lie at the top: the top is always among them.
    """
    for line in membership.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers or "cpu" in controllers.split(","):
            group = PurePosixPath(path.lstrip("/"))
            yield from (PurePosixPath(controllers) / above for above in (group, *group.parents))


def find(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> Cpus:
    """What this process may use: its affinity mask, and the quotas of cgroup 2 or 1."""
    folders = [root / group for group in groups(_text(membership))]
    texts = [_text(folder / "cpu.max") or _text(folder / "cpu.cfs_quota_us") + _text(folder / "cpu.cfs_period_us") for folder in folders]
    return available(len(os.sched_getaffinity(0)), [found for text in texts if (found := quota(text)) is not None])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
