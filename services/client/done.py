"""Which pictures an earlier run has an answer for, by the lines that it wrote."""

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.core.errors import ContractError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """``torn`` where standard output would go on in a line of the file that was cut off, and so spoil its own first."""

    files: frozenset[str] = frozenset()
    torn: bool = False

    @classmethod
    def read(cls, path: Path, model: str) -> Self:
        """Read what ``classify --json`` wrote.

        A line that was cut off, as by a full disk or a kill, is told and passed over; its picture is asked about again.

        Args:
            path: the file.
            model: answers of other models do not count.

        Raises:
            ContractError: it cannot be read, or holds something else.
        """
        files: set[str] = set()
        damaged: list[int] = []
        number, line = 0, b"\n"
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        answer = json.loads(line) if line.strip() else {}
                        if "top" in answer and answer["model"] == model:
                            files.add(answer["file"])
                    except (ValueError, KeyError, TypeError):
                        damaged.append(number)
        except OSError as error:
            raise ContractError(f"{path}: {error.strerror or error}, expected answers that --json wrote", hint="see --skip-done") from None
        if damaged and len(damaged) == number:
            raise ContractError(f"{path}: found no line of JSON, expected answers that --json wrote", hint="see --skip-done")
        if damaged:
            log.warning("%s: line %s cut off or damaged; asking again", path, ", ".join(map(str, damaged)))
        return cls(frozenset(files), torn=not line.endswith(b"\n") and _is_output(path))


def _is_output(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # what stands for standard output in a test, or in a notebook, is no file
        return False
