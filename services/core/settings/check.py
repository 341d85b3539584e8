"""All settings of all stages, checked before the first stage starts: ``python -m services.core.settings.check``."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from services.core import log as logging_setup
from services.core import stage
from services.core.errors import SettingsError
from services.core.settings import STAGES, Settings, StackSettings
from services.core.settings.base import HINT
from services.core.settings.reference import keys

log = logging.getLogger(__name__)

# Keys of Compose itself, which may stand in .env too.
_COMPOSE = "COMPOSE_"
# The first that no published security bulletin of Triton covers; SECURITY.md has the list.
_LEAST_RELEASE = (26, 7)


def check(environ: Mapping[str, str], dotenv_keys: Iterable[str] = ()) -> None:
    """Read the settings of every stage and of the stack.

    Args:
        environ: the settings; other variables are passed over.
        dotenv_keys: the keys that stand in ``.env``, each of which must be a setting.

    Raises:
        SettingsError: a value is not of its kind, or a key is no setting; all problems are named at once.
    """
    problems: dict[str, None] = {}
    kinds: tuple[type[Settings], ...] = (*STAGES, StackSettings)
    for kind in kinds:
        try:
            kind.from_env(environ)
        except SettingsError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if _has_published_weaknesses(environ):
        found = f"NGC_RELEASE={environ['NGC_RELEASE'].strip()}: Triton of this release has published weaknesses (SECURITY.md)"
        least = "{}.{:02}".format(*_LEAST_RELEASE)
        problems[f"{found}: expected {least} or newer, or ACCEPT_OLD_RELEASE=yes"] = None
    known = keys()
    for key in dotenv_keys:
        if key not in known and not key.startswith(_COMPOSE):
            close = get_close_matches(key, known, n=1)
            problems[f"{key}: there is no such setting{f'; did you mean {close[0]}?' if close else ''}"] = None
    if problems:
        raise SettingsError("\n".join(problems), hint=HINT)


def _has_published_weaknesses(environ: Mapping[str, str]) -> bool:
    """Whether the release is known to be an old one; of a server's image of one's own it tells nothing."""
    release = re.fullmatch(r"(\d\d)\.(\d\d)", environ.get("NGC_RELEASE", "").strip())
    asked = release and not environ.get("TRITON_IMAGE") and environ.get("ACCEPT_OLD_RELEASE") != "yes"
    return bool(release and asked and (int(release[1]), int(release[2])) < _LEAST_RELEASE)


def main() -> int:
    """Check the environment; in ``DOTENV_KEYS`` scripts/up hands on the keys of ``.env``, which no container sees."""
    logging_setup.set_up("settings")
    check(os.environ, os.environ.get("DOTENV_KEYS", "").split())
    return 0


if __name__ == "__main__":
    stage.run(main, debug="--debug" in sys.argv)
