"""Is the server healthy? ``python3 -m services.triton.healthcheck``. Standard library only, for it runs every two seconds.

The server's launcher asks it real questions (``watch``) and leaves its verdict in a file. This prints that verdict, and ends with 0
(healthy) or 1.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from services.core.log import printable

QUESTION_SECONDS = 25.0
"""How long the server may take for one question: a busy server is not a sick one."""
_STALE_SECONDS = 2 * QUESTION_SECONDS + 15.0


def verdict_file(environ: Mapping[str, str]) -> Path:
    """Where launcher and health check meet; the port tells servers of one machine apart."""
    return Path(tempfile.gettempdir()) / f"triton-verdict-{environ.get('HTTP_PORT') or 8000}.json"


def verdict(file: Path) -> tuple[bool, str]:
    """Whether the server is healthy, and why."""
    try:
        found = json.loads(file.read_text())
        healthy, message, age = bool(found["healthy"]), str(found["message"]), time.time() - found["time"]
    except (OSError, ValueError, KeyError, TypeError):
        return False, "the server's launcher has not asked it anything yet"
    if age > _STALE_SECONDS:
        return False, f"the server's launcher has not reported for {age:.0f} s"
    return healthy, message


def main() -> int:
    """Print the verdict."""
    healthy, message = verdict(verdict_file(os.environ))
    sys.stdout.write(f"{'healthy' if healthy else 'unhealthy'}: {printable(message)}\n")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
