"""The machine that is simulated: which TensorRT, which GPU; from the environment, as the image was built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_TENSORRT = "11.2.1.2"
DEFAULT_GPU = "NVIDIA L4|8.9|580.95.05"
MEMORY_MIB = 23034


@dataclass(frozen=True)
class Machine:
    """TensorRT's four-part version and one GPU."""

    tensorrt: tuple[int, int, int, int]
    gpu: str
    compute_capability: str
    driver: str
    memory_mib: int = MEMORY_MIB

    @classmethod
    def all_from_env(cls, environ: Mapping[str, str] = os.environ) -> tuple[Self, ...]:
        """Every GPU of ``SIMULATOR_GPU`` (``name|compute capability|driver``, several with ``;`` between them) in the order of the bus.

        Raises:
            SystemExit: that, or ``SIMULATOR_TENSORRT``, is not of that form (a mistake in the test, not a simulated failure).
        """
        version = version_of(environ.get("SIMULATOR_TENSORRT") or DEFAULT_TENSORRT)
        gpus = [[part.strip() for part in gpu.split("|")] for gpu in (environ.get("SIMULATOR_GPU") or DEFAULT_GPU).split(";")]
        if any(len(gpu) != 3 for gpu in gpus):
            raise SystemExit(f"simulator: SIMULATOR_GPU={environ['SIMULATOR_GPU']!r}: expected 'name|compute capability|driver'")
        return tuple(cls(version, name, capability, driver) for name, capability, driver in gpus)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The machine with CUDA's device 0: the fastest GPU, or with CUDA_DEVICE_ORDER=PCI_BUS_ID the first on the bus.

        Raises:
            SystemExit: the driver is too old by itself (``SIMULATOR_CUDA_COMPAT``), and LD_LIBRARY_PATH does not lead to that folder.
        """
        compat = environ.get("SIMULATOR_CUDA_COMPAT", "")
        if compat and compat not in environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
            raise SystemExit(f"CUDA initialization failure with error: 35 (simulator: {compat} is not in LD_LIBRARY_PATH)")
        machines = cls.all_from_env(environ)
        if environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
            return machines[0]
        return max(machines, key=lambda machine: float(machine.compute_capability))

    @property
    def major(self) -> int:
        """TensorRT's major version."""
        return self.tensorrt[0]

    @property
    def version(self) -> str:
        """The four-part version as text."""
        return dotted(self.tensorrt)

    @property
    def table(self) -> Path:
        """The option table of this TensorRT version."""
        return Path(__file__).with_name("tables") / f"{self.tensorrt[0]}.{self.tensorrt[1]}.json"


def version_of(text: str) -> tuple[int, int, int, int]:
    """A four-part version, of which a simulator must have an option table."""
    parts = text.strip().split(".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        raise SystemExit(f"simulator: {text!r} is no four-part TensorRT version")
    a, b, c, d = (int(part) for part in parts)
    return a, b, c, d


def dotted(version: tuple[int, ...]) -> str:
    """``(11, 1, 0, 106)`` as ``11.1.0.106``."""
    return ".".join(map(str, version))
