"""Logging: talk goes to stderr with stage and model in every line, data goes to stdout."""

import json
import logging
import sys
import time
import unicodedata

_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[31m"}


class _Json(logging.Formatter):
    def __init__(self, stage: str, model: str) -> None:
        super().__init__()
        self._context = {"stage": stage, "model": model}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            **self._context,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Text(logging.Formatter):
    def __init__(self, stage: str, model: str, *, colours: bool) -> None:
        super().__init__(f"[{stage}{' ' + model if model else ''}] %(message)s")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        colour = _COLOURS.get(record.levelno, "") if self._colours else ""
        text = printable(super().format(record), keep="\n\t")
        return f"{colour}{text}{chr(27) + '[0m' if colour else ''}"


def printable(text: str, keep: str = "") -> str:
    """The text without what a terminal acts upon; names and reasons that come from elsewhere may hold escape sequences."""
    return "".join(one if one in keep or not _acts(one) else "?" for one in text)


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")  # controls, and separators of lines and paragraphs


def set_up(stage: str, model: str = "", *, style: str = "text", debug: bool = False) -> None:
    """Set up the root logger; call it once, in a stage's ``main``.

    Args:
        stage: name of the stage, shown in every line.
        model: served name of the model, shown in every line where it is known.
        style: ``text`` for people, ``json`` for one object a line.
        debug: also show debug messages.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(stage, model) if style == "json" else _Text(stage, model, colours=sys.stderr.isatty()))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for noisy in ("urllib3", "PIL", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
