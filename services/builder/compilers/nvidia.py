"""What NVIDIA software and hardware this process sees."""

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from services.core.errors import ContractError, ToolError
from services.core.record import Hardware

# Where the tensorrt and the tritonserver images keep it; some put it on PATH too.
_TRTEXEC_FOLDERS = ("/opt/tensorrt/bin", "/usr/src/tensorrt/bin", "/workspace/tensorrt/bin")
_QUERY_SECONDS = 30


# TensorRT in NVIDIA's tritonserver images, as far as it is proven; a plan loads with exactly the version that built it.
_SERVER_VERSIONS = {"26.03": "10.16.0.72", "26.07": "11.1.0.106", "26.08": "11.2.1.2"}


def demand_servers_version(version: str, server: str, release: str) -> None:
    """Refuse to build for a server that could not load the plan, where its version is known.

    Args:
        version: TensorRT here, four parts.
        server: TensorRT of the server's image, or "".
        release: NGC release of the server's image, or "".

    Raises:
        ContractError: they differ.
    """
    known = server or _SERVER_VERSIONS.get(release, "")
    if known and known != version:
        image = f"of NGC_RELEASE={release}" if not server else "named by SERVER_TENSORRT"
        raise ContractError(
            f"this builder has TensorRT {version}, the server {image} has {known}: it could not load the plan",
            hint="use images of one release (NGC_RELEASE), or set SERVER_TENSORRT to the version in TRITON_IMAGE",
        )


def find_trtexec() -> str:
    """Path of trtexec.

    Raises:
        ToolError: it is nowhere.
    """
    found = shutil.which("trtexec") or shutil.which("trtexec", path=os.pathsep.join(_TRTEXEC_FOLDERS))
    if not found:
        raise ToolError(
            f"trtexec is neither on PATH nor in {', '.join(_TRTEXEC_FOLDERS)}",
            hint="run the builder in NVIDIA's TensorRT image (compose.yaml), or set ACCELERATOR=onnxruntime",
        )
    return str(Path(found))


def tensorrt_version() -> str:
    """The four-part version, such as 11.2.1.2: from the variable that NVIDIA's images set, or from the Python bindings.

    Raises:
        ToolError: neither is there, or the variable holds something else.
    """
    if version := os.environ.get("TRT_VERSION", ""):
        if not re.match(r"\d+\.", version):
            raise ToolError(f"TRT_VERSION={version}: expected a version such as 11.2.1.2", hint="leave it as NVIDIA's image sets it")
        return version.partition("+")[0].partition("-")[0]
    try:
        return str(importlib.import_module("tensorrt").__version__)
    except ImportError:
        raise ToolError(
            "TensorRT is not here: TRT_VERSION is not set, and there is no Python module tensorrt",
            hint="run the builder in NVIDIA's TensorRT image (compose.yaml), or set ACCELERATOR=onnxruntime",
        ) from None


def gpus() -> tuple[Hardware, ...]:
    """Name, compute capability and driver of every GPU, in the order of the PCI bus; the first is the one to build for.

    CUDA counts them in this order too where CUDA_DEVICE_ORDER=PCI_BUS_ID; else it puts the fastest first.

    Raises:
        ToolError: nvidia-smi is missing, or shows none.
    """
    hint = "give the container a GPU (NVIDIA Container Toolkit, compose.yaml), or take compose.cpu.yaml; scripts/doctor checks the host"
    argv = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=_QUERY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"no GPU is visible: nvidia-smi failed ({error})", hint=hint) from None
    rows = [[field.strip() for field in line.split(",")] for line in result.stdout.splitlines() if line.strip()]
    if not rows or any(len(row) != 3 or not re.fullmatch(r"\d+\.\d+", row[1]) for row in rows):
        raise ToolError(f"no GPU is visible: nvidia-smi printed {result.stdout.strip()!r}", hint=hint)
    return tuple(Hardware(device=name, compute_capability=capability, driver=driver) for name, capability, driver in rows)


def like_first(devices: Sequence[Hardware]) -> tuple[int, ...]:
    """Indices of the GPUs like the first, itself included; empty where all are alike."""
    alike = tuple(index for index, device in enumerate(devices) if device == devices[0])
    return () if len(alike) == len(devices) else alike
