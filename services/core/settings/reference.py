"""``.env`` and the tables of docs/configuration.md, written from the declarations: ``python -m services.core.settings.reference``.

With ``--check`` nothing is written; the exit code says whether the files are as they would be written.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from services.core.settings import base, stack, stages
from services.core.settings.base import Settings, shown, told

ROOT = Path(__file__).resolve().parents[3]

# Heading and the classes whose own fields stand below it.
SECTIONS: dict[str, tuple[type[Settings], ...]] = {
    "model": (base.ModelSettings,),
    "exporter": (stages.ExporterSettings,),
    "builder": (stages.BuilderSettings,),
    "serving (written into config.pbtxt by the builder)": (stages.ServingSettings,),
    "triton": (stages.PortSettings, stages.TritonSettings),
    "client": (stages.ClientSettings,),
    "pictures": (stages.PictureSettings,),
    "images": (stack.ImageSettings,),
    "Docker": (stack.DockerSettings,),
    "gateway (compose.public.yaml)": (stack.GatewaySettings,),
    "set by the launcher, not here": (base.FolderSettings, stages.GrpcSettings),
}
# Keys that Compose needs a value for, which the code has no default of.
_COMPOSE_DEFAULTS = {"NGC_RELEASE": "26.08"}
# Keys that an empty line in .env leaves to each launcher, whatever the default of the code is.
_EMPTY = {"MODEL"}

_HEAD = """\
# Every setting of the stack, with its default. Docker Compose and scripts/* read this file; a variable of the shell
# wins. Where a line is empty, its comment says what that means. No secrets belong here. More: docs/configuration.md
# `python -m services.core.settings.reference` writes these lines anew; change the values, not the comments.

# --- which stack ---
# With no GPU: remove the # to make the CPU variant the default of plain `docker compose`.
#COMPOSE_FILE=compose.yaml:compose.cpu.yaml
"""


def dotenv() -> str:
    """The content of ``.env``."""
    lines = [_HEAD]
    for section, kinds in SECTIONS.items():
        lines.append(f"# --- {section} ---")
        for kind, name in _fields(kinds, by_launcher=section.startswith("set by")):
            lines += [
                *textwrap.wrap(_sentence(kind, name), 120, initial_indent="# ", subsequent_indent="# "),
                f"{'#' if told(kind, name)['by_launcher'] else ''}{name.upper()}={default(kind, name)}",
            ]
        lines.append("")
    return "\n".join(lines)


def default(kind: type[Settings], name: str) -> str:
    """The value that stands in ``.env``."""
    key = name.upper()
    if key in _EMPTY or (told(kind, name)["empty"] and kind.model_fields[name].default == 0):
        return ""
    return _COMPOSE_DEFAULTS.get(key) or shown(kind.model_fields[name].default)


def table(section: str) -> str:
    """The Markdown table of a section."""
    lines = ["| key | values | default | meaning; when to change it |", "|---|---|---|---|"]
    for kind, name in _fields(SECTIONS[section], by_launcher=section.startswith("set by")):
        said = told(kind, name)
        value = default(kind, name)
        standard = f"`{value}`" if value else f"empty: {said['empty']}" if said["empty"] else "empty"
        meaning = f"{kind.model_fields[name].description}{'. ' + said['advice'] if said['advice'] else ''}"
        lines.append(f"| `{name.upper()}` | {_values(kind, name)} | {standard} | {meaning} |")
    return "\n".join(lines)


def configuration(page: str) -> str:
    """The page with the tables between its marks ``<!-- settings: SECTION -->`` and ``<!-- end -->`` written anew."""

    def written(mark: re.Match[str]) -> str:
        return f"<!-- settings: {mark[1]} -->\n\n{table(mark[1])}\n\n<!-- end -->"

    return re.sub(r"<!-- settings: (.+?) -->\n.*?<!-- end -->", written, page, flags=re.DOTALL)


def keys() -> set[str]:
    """All keys that mean something."""
    return {name.upper() for kinds in SECTIONS.values() for kind in kinds for name in kind.model_fields}


def _fields(kinds: tuple[type[Settings], ...], *, by_launcher: bool) -> Iterator[tuple[type[Settings], str]]:
    """The classes' own fields; those that launchers set stand in the last section."""
    if by_launcher:
        kinds = tuple(dict.fromkeys((*kinds, *(kind for group in SECTIONS.values() for kind in group))))
    seen: set[str] = set()
    for kind in kinds:
        for name in kind.__annotations__:
            if name in kind.model_fields and told(kind, name)["by_launcher"] == by_launcher and name not in seen | _elsewhere(kind):
                seen.add(name)
                yield kind, name


def _elsewhere(kind: type[Settings]) -> set[str]:
    """Fields that a class declares anew, with another default; the first declaration is the one that is shown."""
    return {name for parent in kind.__mro__[1:] if issubclass(parent, Settings) for name in parent.model_fields}


def _sentence(kind: type[Settings], name: str) -> str:
    text, empty = str(kind.model_fields[name].description), told(kind, name)["empty"].replace("`", "")
    return f"{text}.{f' Empty: {empty}.' if empty else ''}"


def _values(kind: type[Settings], name: str) -> str:
    if values := told(kind, name)["values"]:
        return str(values)
    field = kind.model_fields[name]
    options = [
        option for part in (field.annotation, *get_args(field.annotation)) if get_origin(part) is Literal for option in get_args(part)
    ]
    if options:
        return " · ".join(f"`{option}`" for option in options if option)
    return (
        _range(field)
        if "int" in str(field.annotation) or "float" in str(field.annotation)
        else "a folder"
        if "Path" in str(field.annotation)
        else "text"
    )


def _range(field: Any) -> str:
    bounds = {bound: getattr(item, bound) for item in field.metadata for bound in ("ge", "gt", "le") if hasattr(item, bound)}
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']}…{bounds['le']}"
    return f"≥ {bounds['ge']}" if "ge" in bounds else f"> {bounds['gt']}" if "gt" in bounds else "a number"


def main(arguments: list[str]) -> int:
    """Write the two files, or with ``--check`` say whether they are up to date."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    page = ROOT / "docs" / "configuration.md"
    stale = {
        path
        for path, text in {ROOT / ".env": dotenv(), page: configuration(page.read_text())}.items()
        if _differs(path, text, write=not arguments)
    }
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} {'is not what the declarations say' if arguments else 'written'}\n")
    return 1 if arguments and stale else 0


def _differs(path: Path, text: str, *, write: bool) -> bool:
    if path.read_text() == text:
        return False
    if write:
        path.write_text(text)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
