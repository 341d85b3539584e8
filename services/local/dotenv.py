"""``.env``, read by Compose's rules; a variable of the shell wins, and an empty one counts as unset.

python-dotenv knows quotes, comments and blanks. What Compose has more is that ``$NAME`` needs no braces, ``$$`` is a dollar
sign, and single quotes keep a value as it is. A contract test holds this reader against Compose itself.
"""

from __future__ import annotations  # scripts/doctor also runs on Python 3.9

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from services.core.errors import SettingsError

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<kind>:?-)(?P<other>[^}]*))?\})")


def read(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings that a ``.env`` file gives, each overridden by a variable of the shell that is not empty.

    Args:
        path: the file; one that is missing gives nothing.
        environ: the shell's variables.

    Raises:
        SettingsError: the file cannot be read, or a line of it is no setting.
    """
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="write it as plain text, one KEY=value a line") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            found = binding.original.string.strip()
            raise SettingsError(f"{path.name}, line {binding.original.line}: expected KEY=value, found {found}", hint="correct the line")
        if binding.key is None or binding.value is None:  # a blank or a comment; a key alone
            continue
        quote = binding.original.string.partition("=")[2].lstrip()[:1]
        value = binding.value
        if quote != "'":
            value = _expanded(value.replace("\\$", "$$") if quote == '"' else value, {**values, **_set(environ)})
        values[binding.key] = environ.get(binding.key) or value
    return values


def _set(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if value}


def _expanded(value: str, known: Mapping[str, str]) -> str:
    def text(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name, other = found["plain"] or found["name"], found["other"] or ""
        if found["kind"] == ":-":
            return known.get(name) or other
        return known.get(name, other)

    return _VARIABLE.sub(text, value)
