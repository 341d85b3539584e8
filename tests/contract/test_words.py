"""Prose keeps within 120 columns: Markdown outside of tables and code, and comments of the files that people edit."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 120
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def _prose(path: Path) -> list[tuple[int, str]]:
    lines = list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    if path.suffix != ".md":
        return [(number, line) for number, line in lines if line.lstrip().startswith("#")]
    kept, code = [], False
    for number, line in lines:
        code ^= line.startswith("```")
        if not code and not line.startswith(("|", "    ")):
            kept.append((number, line))
    return kept


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith((".md", ".yaml", ".yml", ".env", ".toml", "Dockerfile"))])
def test_lines_of_prose_are_short(name: str) -> None:
    path = ROOT / name
    if path.is_file():
        assert [f"{name}:{number}" for number, line in _prose(path) if len(line) > WIDTH and "](" not in line] == []
