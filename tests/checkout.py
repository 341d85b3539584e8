"""A clean copy of this checkout, with the environment that the tests run in."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_checkout(target: Path) -> Path:
    """What a clone would hold, were everything committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def link_environment(target: Path, *holds: str) -> None:
    """A ``.venv`` of links, so that nothing is installed again; it is said to hold ``launcher``, ``dev``, ``local`` or ``test``."""
    (target / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if not part.name.startswith("."):
            (target / ".venv" / part.name).symlink_to(part)
    mark = 'source scripts/common.sh; source scripts/environment.sh; for name; do touch "$venv/.$name-$(sum_of_locks)"; done'
    subprocess.run(["bash", "-c", mark, "bash", *holds], cwd=target, check=True)


def outside() -> str:
    """A host beyond this machine that is there wherever this project could be installed: the package index that pip knows."""
    from pip._internal.models.index import PyPI  # its only name for it

    return str(PyPI.netloc)
