"""What is in these pictures?"""

import contextlib
import logging
import sys
from collections.abc import Iterable

import numpy as np

from services.client.inputs import batches, expand_all, read_pictures
from services.client.progress import Progress
from services.client.report import Result, json_line, table
from services.client.served import ServedModel, classes_of
from services.core.errors import ImageError
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)


def classify(model: ServedModel, settings: ClientSettings, arguments: Iterable[str], *, as_json: bool) -> None:
    """Ask for the best classes of each picture, batch by batch, and print them as they come.

    Args:
        model: whom to ask.
        settings: number of classes, size of pictures.
        arguments: files, folders, patterns, addresses, or ``-``.
        as_json: one JSON object per line instead of a table.

    Raises:
        ImageError: some could not be read; all others were reported before.
        ServerError: the server refuses, or went away.
    """
    if model.card.source.weights == "random":
        log.warning("the weights of %s are random: its answers mean nothing", model.name)
    unreadable: list[ImageError] = []

    def note(error: ImageError) -> None:
        log.error("%s", error)
        unreadable.append(error)

    names = expand_all(arguments, note)
    done = 0
    with contextlib.closing(
        Progress(len(names), sys.stderr if sys.stderr.isatty() and settings.log_format == "text" else None)
    ) as progress:

        def skip(error: ImageError) -> None:
            with progress.aside():
                note(error)
            progress.advance()

        for group in batches(read_pictures(names, model.card.preprocessing, skip, max_pixels=settings.max_pixels), model.batch):
            answer = model.ask(np.stack([picture.tensor for picture in group]), settings.top_k)
            with progress.aside():
                for picture, row in zip(group, answer.output, strict=True):
                    result = Result(picture.name, model.name, answer.version, classes_of(row))
                    print(json_line(result) if as_json else table(result, model.card.scores), flush=True)  # noqa: T201 - the data
            done += len(group)
            progress.advance(len(group))
    log.info("%d classified by %s at %s", done, model.name, model.transport.where)
    if unreadable:
        raise ImageError(f"{len(unreadable)} of {done + len(unreadable)} could not be read", hint="see the lines above")
