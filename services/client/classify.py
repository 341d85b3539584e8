"""What is in these pictures?"""

import contextlib
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from services.client.asking import Asking
from services.client.done import Done
from services.client.inputs import STANDARD_INPUT, expand, picture
from services.client.progress import Progress
from services.client.report import Result, json_line, table
from services.core.errors import ImageError
from services.core.log import printable
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)


def classify(asking: Asking, settings: ClientSettings, arguments: Iterable[str], *, as_json: bool, skip_done: Path | None = None) -> None:
    """Ask for the best classes of each picture, and print them as they come, in the order of the pictures.

    Args:
        asking: whom to ask.
        settings: number of classes.
        arguments: files, folders, patterns, addresses, or ``-``.
        as_json: one JSON object per line instead of a table.
        skip_done: lines of an earlier run; what they have an answer for is left out.

    Raises:
        ContractError: ``skip_done`` holds something else.
        ImageError: some could not be read; all others were reported before.
        ServerError: the server refuses, or went away.
    """
    model = asking.model
    if model.card.source.weights == "random":
        log.warning("the weights of %s are random: its answers mean nothing", model.name)
    done = Done.read(skip_done, model.name) if skip_done else Done()
    if done.torn:
        sys.stdout.write("\n")
    names: list[str] = []
    read, unreadable = 0, 0
    for argument in arguments:
        try:
            names += expand(argument)
        except ImageError as error:
            unreadable += 1
            _report(Result(argument, model.name, error=str(error)), as_json=as_json, scores=model.card.scores)
    left = [name for name in names if name not in done.files or name == STANDARD_INPUT]
    if skip_done:
        log.info("%d of %d left out: %s has answers for them", len(names) - len(left), len(names), skip_done)
    terminal = sys.stderr if sys.stderr.isatty() and settings.log_format == "text" else None
    with contextlib.closing(Progress(len(left), terminal)) as progress:
        for group in asking.groups(map(picture, left), settings.top_k):
            with progress.aside():
                for result in group:
                    _report(result, as_json=as_json, scores=model.card.scores)
                sys.stdout.flush()
            bad = sum(bool(result.error) for result in group)
            read, unreadable = read + len(group) - bad, unreadable + bad
            progress.advance(len(group))
    log.info("%d classified by %s at %s", read, model.name, model.transport.where)
    if unreadable:
        raise ImageError(f"{unreadable} of {read + unreadable} could not be read", hint="see the lines above")


def _report(result: Result, *, as_json: bool, scores: Literal["probabilities", "logits"]) -> None:
    if result.error:
        called = "standard input" if result.file == STANDARD_INPUT else result.file
        log.error("%s", f"{printable(called)}: {result.error}" if called else result.error)
    if as_json:
        print(json_line(result))  # noqa: T201 - the data
    elif not result.error:
        print(table(result, scores))  # noqa: T201 - the data
