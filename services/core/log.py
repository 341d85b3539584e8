"""Logging: talk goes to stderr with stage and model in every line, data goes to stdout."""

import json
import logging
import re
import sys
import time

_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[31m"}
# Controls (C0, DEL, C1), separators of lines and paragraphs, overrides of the writing direction, and surrogates, which stand for bytes
# of file names that are no UTF-8. Joiners stay: some scripts, and emoji, need them.
_ACTING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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
        super().__init__()
        named = " ".join(filter(None, (stage, model)))
        self._prefix = f"[{named}] " if named else ""
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        colour = _COLOURS.get(record.levelno, "") if self._colours else ""
        text = printable(self._prefix + super().format(record).rstrip("\n"), keep="\n\t")
        return f"{colour}{text}{chr(27) + '[0m' if colour else ''}"


def printable(text: str, keep: str = "") -> str:
    r"""The text with a visible escape, such as ``\x1b``, for each character that a terminal acts upon, but for those to ``keep``.

    Names, labels and reasons that come from elsewhere may hold escape sequences.
    """
    return _ACTING.sub(lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text)


def set_up(stage: str, model: str = "", *, style: str = "text", debug: bool = False) -> None:
    """Set up the root logger; call it once, in a stage's ``main``.

    Args:
        stage: name of the stage, shown in every line; "" where it is not known.
        model: served name of the model, shown in every line where it is known.
        style: ``text`` for people, ``json`` for one object a line.
        debug: also show debug messages.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(stage, model) if style == "json" else _Text(stage, model, colours=sys.stderr.isatty()))
    logging.captureWarnings(capture=True)  # Python's own may quote files, too
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for noisy in ("urllib3", "PIL", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
