"""What is in these pictures?"""

import logging
from collections.abc import Iterable

import numpy as np

from services.client.inputs import batches, read_pictures
from services.client.report import Result, json_line, table
from services.client.served import ServedModel, classes_of
from services.client.transport import Transport
from services.core.errors import ImageError
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)


def classify(transport: Transport, settings: ClientSettings, pictures: Iterable[str], *, as_json: bool) -> None:
    """Ask for the best classes of each picture, batch by batch, and print them as they come.

    Args:
        transport: the server; the model is ready.
        settings: model, batch and number of classes.
        pictures: files, folders, patterns, addresses, or ``-``.
        as_json: one JSON object a line instead of a table.

    Raises:
        ImageError: some could not be read; all others were reported before.
        ServerError: the server refuses, or went away.
        ContractError: the served model carries no card.
    """
    model = ServedModel.of(transport, settings)
    unreadable: list[ImageError] = []

    def report_unreadable(error: ImageError) -> None:
        log.error("%s", error)
        unreadable.append(error)

    done = 0
    for group in batches(read_pictures(pictures, model.card.preprocessing, report_unreadable), model.batch):
        answer = model.ask(np.stack([picture.tensor for picture in group]), settings.top_k)
        for picture, row in zip(group, answer.output, strict=True):
            result = Result(picture.name, model.name, answer.version, classes_of(row))
            print(json_line(result) if as_json else table(result, model.card.scores), flush=True)  # noqa: T201 - the data
        done += len(group)
    log.info("%d classified by %s at %s", done, model.name, transport.where)
    if unreadable:
        raise ImageError(f"{len(unreadable)} of {done + len(unreadable)} could not be read", hint="see the lines above")
