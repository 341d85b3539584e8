"""Answers as text: a table for people, JSON lines for programs."""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from services.client.served import Class
from services.core.record import Accuracy

WIDTH_OFF_TERMINAL = 100
_NARROWEST_WITH_BAR = 50
_BAR = 20


@dataclass(frozen=True)
class Result:
    """The best classes of one picture, and the version of the model that says so."""

    file: str
    model: str
    version: int
    top: list[Class]


def json_line(result: Result) -> str:
    """The result as one line of JSON: file, model, version, top (index, label, score)."""
    return json.dumps(asdict(result))


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
    lines = [_printable(result.file)]
    for best in result.top:
        if scores == "logits":
            score = f"{best.score:10.4f}"
        elif width < _NARROWEST_WITH_BAR:
            score = f"{best.score:6.1%}"
        else:
            score = f"{block * round(min(best.score, 1) * _BAR):<{_BAR}}  {best.score:6.1%}"
        lines.append(_shortened(f"  {score}  {best.index:>5}  {_printable(best.label)}".rstrip(), width))
    return "\n".join(lines)


def verify_text(model: str, version: int, accuracy: Accuracy, *, passed: bool, as_json: bool) -> str:
    """What ``verify`` found, as one line of JSON or for people; a number that is none becomes null in JSON."""
    if as_json:
        measured = json.loads(accuracy.model_dump_json())
        return json.dumps({"model": model, "version": version, "passed": passed, **measured})
    return "\n".join(
        (
            f"{model} version {version}, {accuracy.samples} golden inputs: {'agrees' if passed else 'DISAGREES'} with the original model",
            f"  same top-1     {accuracy.top1_agreement:10.1%}   at least {accuracy.min_top1_agreement:.1%}",
            f"  largest error  {accuracy.max_error:10.3g}   at most {accuracy.max_error_tolerance:.3g}",
            f"  mean error     {accuracy.mean_error:10.3g}   at most {accuracy.mean_error_tolerance:.3g}",
        )
    )


def _shortened(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "~"


def _printable(text: str) -> str:
    """Labels and file names come from elsewhere; an escape sequence in one must not reach the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _shows_blocks() -> bool:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
