"""Answers as text: a table for people, JSON lines for programs."""

import json
import math
import shutil
import sys
from dataclasses import asdict, dataclass, field
from typing import Literal

from services.client.served import Class
from services.core.log import printable
from services.numerics.agreement import Agreement

WIDTH_OFF_TERMINAL = 100
_NARROWEST_WITH_BAR = 50
_BAR = 20


@dataclass(frozen=True)
class Result:
    """The best classes of one picture, best first, and the version of the model that says so; or why there are none.

    ``file`` is the name of the picture, ``error`` is "" where there is an answer.
    """

    file: str
    model: str
    version: int = 0
    top: list[Class] = field(default_factory=list)
    error: str = ""


def json_line(result: Result) -> str:
    """The result as one line of JSON: file, model, version, top (index, label, score); or file and error."""
    keys = ("file", "error") if result.error else ("file", "model", "version", "top")
    held = asdict(result)
    return json.dumps({key: held[key] for key in keys})


def table(result: Result, scores: Literal["probabilities", "logits"], width: int = 0, *, unicode: bool | None = None) -> str:
    """The result for people: the picture's name, then a line per class.

    Args:
        result: what to show.
        scores: probabilities become a bar and a percentage, logits stay numbers.
        width: columns to keep within; the terminal's where 0.
        unicode: draw with block characters; where None, if the output can show them.
    """
    width = width or shutil.get_terminal_size((WIDTH_OFF_TERMINAL, 24)).columns
    block = "█" if (_shows_blocks() if unicode is None else unicode) else "#"
    lines = [printable(result.file)]
    for best in result.top:
        if scores == "logits":
            score = f"{best.score:10.4f}"
        elif width < _NARROWEST_WITH_BAR:
            score = f"{best.score:6.1%}"
        else:
            score = f"{block * round(min(best.score, 1) * _BAR):<{_BAR}}  {best.score:6.1%}"
        lines.append(_shortened(f"  {score}  {best.index:>5}  {printable(best.label)}".rstrip(), width))
    return "\n".join(lines)


def verify_text(model: str, version: int, found: Agreement, *, as_json: bool) -> str:
    """What ``verify`` found, for people or as one line of JSON, where NaN and infinity become null."""
    if as_json:
        measured = {name: value if math.isfinite(value) else None for name, value in asdict(found).items()}
        return json.dumps({"model": model, "version": version, "passed": not found.problems, **measured})
    verdict = "DISAGREES" if found.problems else "agrees"
    return "\n".join(
        (
            f"{printable(model)} version {version}, {found.samples} golden inputs: {verdict} with the original model",
            f"  same top-1     {found.top1_agreement:10.1%}   at least {found.min_top1_agreement:.1%}",
            f"  largest error  {found.max_error:10.3g}   at most {found.max_error_tolerance:.3g}",
            f"  mean error     {found.mean_error:10.3g}   at most {found.mean_error_tolerance:.3g}",
        )
    )


def _shortened(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "~"


def _shows_blocks() -> bool:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
