"""trtexec's command line: ``--name=value``, checked against the option table of one TensorRT version.

Rules after github.com/NVIDIA/TensorRT samples/common/sampleOptions.cpp: a bare ``--name`` has the empty value; a flag
is on whatever its value; numbers are read as C++ reads them; what no parser took is an unknown option.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Shapes = dict[str, list[int]]

_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_POOLS = ("workspace", "dlaSRAM", "dlaLocalDRAM", "dlaGlobalDRAM", "tacticSharedMem")
_TYPES = ("fp32", "fp16", "bf16", "int32", "int64", "int8", "uint8", "bool", "fp8", "int4")
_LAYOUTS = ("chw", "chw2", "chw4", "hwc8", "chw16", "chw32", "dhwc8", "cdhw32", "hwc", "dhwc", "dla_linear", "hwc16", "dla_hwc4")


class InvalidArgumentError(Exception):
    """A value that trtexec refuses: message, after the help text, exit code 1."""


@dataclass(frozen=True)
class Options:
    """Parsed values by option name; a repeated option holds a list."""

    values: dict[str, Any] = field(default_factory=dict)
    profiles: list[dict[str, tuple[list[int], list[int], list[int]]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option, or the default."""
        return self.values.get(name, default)


def read_table(path: Path) -> dict[str, dict[str, Any]]:
    """The options of one version: name to kind."""
    options: dict[str, dict[str, Any]] = json.loads(path.read_text())["options"]
    return options


def split(argv: list[str]) -> list[tuple[str, str]]:
    """Arguments to (name, value), cut at the first ``=``."""
    return [(name, value) for name, _, value in (argument.partition("=") for argument in argv)]


def integer(text: str) -> int:
    """As C++ ``stoi``: leading blanks, digits, the rest ignored."""
    found = re.match(r"\s*[+-]?\d+", text)
    if not found:
        raise InvalidArgumentError("stoi")
    return int(found.group())


def number(text: str) -> float:
    """As C++ ``stof``."""
    found = re.match(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text)
    if not found:
        raise InvalidArgumentError("stof")
    return float(found.group())


def shape(text: str) -> list[int]:
    """``1x3x224x224`` to a list."""
    return [] if text == "scalar" else [integer(part) for part in text.split("x")]


def named(text: str) -> tuple[str, str]:
    """``name:value`` cut at the last colon; quotes protect the name."""
    quoted = text.split("'")
    if len(quoted) == 3:
        return quoted[0] + quoted[1], quoted[2][1:]
    if len(quoted) != 1:
        raise InvalidArgumentError(f"Found invalid number of 's when parsing {text}. Expected: 2, received: {len(quoted) - 1}.")
    name, _, value = text.rpartition(":")
    return (name, value) if name else (text, text)


def shapes(text: str) -> Shapes:
    """``a:1x3,b:2x4`` to shapes by name."""
    return {name: shape(value) for name, value in map(named, filter(None, text.split(",")))}


def pools(text: str) -> dict[str, float]:
    """``workspace:4096`` to bytes by pool; no suffix means MiB."""
    sizes = {}
    for name, value in map(named, filter(None, text.split(","))):
        unit = value[-1:].upper()
        if not unit.isdigit() and unit not in _UNITS:
            raise InvalidArgumentError(
                f"Error parsing \"{value}\": invalid unit specifier '{unit}'. Valid base-2 unit suffixes include: B, G, K, M."
            )
        size = number(value) * _UNITS.get(unit, _UNITS["M"])
        if size < 0:
            raise InvalidArgumentError(f"Negative memory pool size: {size}")
        if name not in _POOLS:
            raise InvalidArgumentError(f"Unknown memory pool: {name}")
        sizes[name] = size
    return sizes


def _formats(text: str, major: int) -> list[str]:
    """I/O formats: ``fp16:chw`` before 11, where the type is part of it; ``chw`` since."""
    entries = list(filter(None, text.split(",")))
    for entry in entries:
        kind, colon, layout = entry.partition(":")
        if major < 11 and (not colon or kind not in _TYPES):
            raise InvalidArgumentError(f"Invalid IOFormat {entry}")
        for one in (layout if major < 11 else entry).split("+"):
            if one not in _LAYOUTS:
                raise InvalidArgumentError(f"Invalid TensorFormat {one}")
    return entries


def _percentiles(text: str) -> list[float]:
    values = [number(part) for part in filter(None, text.split(","))]
    for value in values:
        if not 0 <= value <= 100:
            raise InvalidArgumentError(f"Percentile {value:f}is not in [0,100]")
    return values


def _switches(text: str) -> list[str]:
    entries = list(filter(None, text.split(",")))
    if any(entry[0] not in "+-" for entry in entries):
        raise InvalidArgumentError(
            "features must be prefixed with + or -, indicating whether it should be enabled or disabled respectively."
        )
    return entries


def _readers(major: int) -> dict[str, Callable[[str], Any]]:
    return {
        "flag": lambda _: True,
        "string": str,
        "int": integer,
        "index": integer,
        "float": number,
        "floats": _percentiles,
        "budget": number,
        "shapes": shapes,
        "pools": pools,
        "files": lambda text: dict(map(named, filter(None, text.split(",")))),
        "pairs": lambda text: dict(map(named, filter(None, text.split(",")))),
        "formats": lambda text: _formats(text, major),
        "switches": _switches,
    }


def value_of(name: str, text: str, entry: dict[str, Any], major: int) -> Any:
    """One option's value.

    Raises:
        InvalidArgumentError: it is not of the option's kind.
    """
    if entry["kind"] == "choice":
        known = {choice.lower() for choice in entry["choices"]} if name == "--hardwareCompatibilityLevel" else set(entry["choices"])
        if text and (text.lower() if name == "--hardwareCompatibilityLevel" else text) not in known:
            labels = {"--sparsity": "sparsity mode", "--runtimePlatform": "runtime platform", "--tuningSearch": "tuning search algorithm"}
            raise InvalidArgumentError(f"Unknown {labels.get(name, name[2:])}: {text}")
        return text
    return _readers(major)[entry["kind"]](text)
