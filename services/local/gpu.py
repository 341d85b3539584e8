"""Whether the stages and the server of this environment can use an NVIDIA GPU."""

import importlib.metadata
import subprocess
from collections.abc import Mapping

_QUERY_SECONDS = 30


def accelerator(settings: Mapping[str, str]) -> str:
    """ACCELERATOR of this launcher: a GPU that is here is used, unless INSTANCE_KIND=KIND_CPU."""
    return "onnxruntime-gpu" if settings.get("INSTANCE_KIND") != "KIND_CPU" and installed() and visible() else "onnxruntime"


def installed() -> bool:
    """Whether scripts/environment.sh has found a GPU, and has put ONNX Runtime for it in the place of the other."""
    try:
        importlib.metadata.version("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def visible() -> bool:
    """Whether the driver lists a GPU."""
    try:
        return bool(subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=_QUERY_SECONDS, check=True).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return False
