"""A virtual environment for each peer, made of its requirements file where that has changed."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from services.core.errors import ToolError

REQUIREMENTS = "requirements.txt"


def environment(peer: Path, scratch: Path) -> Path:
    """The Python of a peer's environment below ``scratch``; ``peer`` is the folder of its requirements.

    Raises:
        ToolError: it cannot be installed.
    """
    folder = scratch / "environments" / peer.name
    python, mark = folder / "bin" / "python", folder / "made-of"
    asked = hashlib.sha256((peer / REQUIREMENTS).read_bytes() + sys.version.encode()).hexdigest()
    if mark.exists() and mark.read_text() == asked:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    log = scratch / f"{peer.name}-pip.log"
    with log.open("wb") as output:
        command = [str(python), "-m", "pip", "install", "--no-deps", "--requirement", str(peer / REQUIREMENTS)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        raise ToolError(f"pip cannot install {peer.name}: {(errors or [f'see {log}'])[0]}")
    mark.write_text(asked)
    return python


def installed(peer: Path, package: str) -> str:
    """The version of a package in a requirements file."""
    lines = (peer / REQUIREMENTS).read_text().splitlines()
    return next((line.partition("==")[2] for line in lines if line.partition("==")[0].lower() == package.lower()), "")
