"""The timing cache file: bound to TensorRT version and GPU; a foreign one is an error message and a build without it.

After github.com/NVIDIA/TensorRT shared/utils/cacheUtils.cpp: a missing file is a warning and a new cache; one that
TensorRT cannot read is an error, the build goes on, and the file is still there afterwards, as broken as before.
"""

import json
import os
from pathlib import Path
from typing import Any

from simulator import log
from simulator.machine import Machine

MAGIC = b"SIMULATOR-TIMING-CACHE-1\n"


def _owner(machine: Machine) -> dict[str, str]:
    return {"tensorrt": machine.version, "gpu": machine.gpu, "compute_capability": machine.compute_capability}


def load(path: Path, machine: Machine) -> dict[str, float] | None:
    """Timings by layer; empty for a new file, None for one that cannot be used."""
    if not path.exists():
        log.library_warning(f"Could not read cache from: {path}. A new cache will be generated and written.")
        return {}
    content = path.read_bytes()
    log.library_info(f"Loaded {len(content)} bytes of cache from file: {path}")
    if not content:
        return {}
    document = _read(content)
    if document.get("owner") == _owner(machine):
        timings: dict[str, float] = document["timings"]
        return timings
    log.library_error(f"IBuilderConfig::createTimingCache: Error Code 1: Serialization ({_reason(document, machine)})")
    log.library_error("IBuilderConfig::setTimingCache: Error Code 4: Internal Error (The timing cache will not be used!)")
    log.library_error(f"Failed to create ITimingCache from file {path}")
    return None


def _read(content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(content.removeprefix(MAGIC)) if content.startswith(MAGIC) else {}
    except ValueError:
        return {}
    return document


def _reason(document: dict[str, Any], machine: Machine) -> str:
    built_by = document.get("owner", {}).get("tensorrt")
    if built_by is None:
        return "Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match"
    if built_by == machine.version:
        return "Timing cache was created on a different device"
    return f"Version tag does not match. Note: Current Version: {machine.version}, Serialized Engine Version: {built_by}"


def save(path: Path, machine: Machine, timings: dict[str, float]) -> None:
    """Write the cache by rename, as the real one writes it under a file lock."""
    content = MAGIC + json.dumps({"owner": _owner(machine), "timings": timings}).encode()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)
    log.library_info(f"Saved {len(content)} bytes of timing cache to {path}")
