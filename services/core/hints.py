"""The commands that hints name: those of the launcher in use. Standard library only.

``LAUNCHER`` is set by ``scripts/*`` (gpu, cpu or local). Without it, a stage in a container was started by Docker Compose, and
any other by hand.
"""

import os
from pathlib import Path

# What scripts/* call a stage where it is not a script of its own.
_SCRIPTS = {"exporter": "scripts/up", "client": "scripts/classify", "triton": "scripts/up"}


def in_container() -> bool:
    """Whether this process runs in a container of Docker or Podman."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def isolated() -> bool:
    """Whether this process sees other files and another loopback address than the user who started it."""
    return in_container() and os.environ.get("LAUNCHER") != "local"


def command(stage: str, *arguments: str) -> str:
    """The command line that runs a stage: ``exporter``, ``builder`` or ``client``."""
    if os.environ.get("LAUNCHER"):
        words = [_SCRIPTS.get(stage, f"scripts/{stage}")]
    elif in_container():
        # Without --no-deps Compose would first run the stages before it again.
        words = ["docker compose run --rm", *(["--no-deps"] if arguments or stage == "client" else []), stage]
    else:
        words = [f"python -m services.{stage}"]
    # scripts/up takes options of its own, not those of a stage.
    return " ".join([*words, *(arguments if words[0] != "scripts/up" else ())])


def start() -> str:
    """The command line that starts the whole stack."""
    return "docker compose up" if in_container() and not os.environ.get("LAUNCHER") else "scripts/up"


def server_log() -> str:
    """Where the server's log is."""
    local = os.environ.get("LAUNCHER") == "local" or not (os.environ.get("LAUNCHER") or in_container())
    return ".stack/triton.log" if local else "docker compose logs triton"
