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

QUESTION_SECONDS = 25.0
"""How long the server may take for one question: a busy server is not a sick one."""
_STALE_SECONDS = QUESTION_SECONDS + 15.0


def verdict_file(environ: Mapping[str, str]) -> Path:
    """Where launcher and health check meet; the port tells servers of one machine apart."""
    return Path(tempfile.gettempdir()) / f"triton-verdict-{environ.get('HTTP_PORT') or 8000}.json"


def main() -> int:
    """Print the verdict."""
    try:
        verdict = json.loads(verdict_file(os.environ).read_text())
    except (OSError, ValueError):
        verdict = {"healthy": False, "message": "the server's launcher has not asked it anything yet", "time": time.time()}
    age = time.time() - verdict["time"]
    if age > _STALE_SECONDS:
        verdict = {"healthy": False, "message": f"the server's launcher has not reported for {age:.0f} s"}
    sys.stdout.write(f"{'healthy' if verdict['healthy'] else 'unhealthy'}: {verdict['message']}\n")
    return 0 if verdict["healthy"] else 1


if __name__ == "__main__":
    sys.exit(main())
