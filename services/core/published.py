"""The names of files in a published model's folder, and which version it serves. Standard library only."""

import re

from services.core.errors import ContractError
from services.core.hints import command

CONFIG = "config.pbtxt"
IMAGE_CONFIG = "image.pbtxt"
"""In the folder of a version: the config of the model beside it that takes pictures as files."""
CARD = "card.json"
RECORD = "build.json"
GOLDEN = "golden.npz"
LABELS = "labels.txt"

ENCODED, VERSION = "encoded", "version"
"""Input, and second output, of the model that takes pictures as files; the first is that of the model beside it."""

CONTROL_HEADER = "x-control"
CONTROL_INPUT, CONTROL_OUTPUT = "model", "state"
"""Of the model that has the server load others: a name, and what had to be done."""


def live_version(config: str) -> int:
    """The version that a ``config.pbtxt`` serves: ``version_policy { specific { versions: N } }``.

    Raises:
        ContractError: it names none.
    """
    found = re.search(r"\bversions\s*:\s*\[?\s*(\d{1,9})\b", config)
    if not found:
        raise ContractError(f"{CONFIG} names no version", hint=f"serve a good version again: {command('builder', 'rollback')}")
    return int(found[1])
