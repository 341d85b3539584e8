"""Putting a version into service, and back out again when it does not prove itself."""

import logging
from pathlib import Path

import numpy as np

from services.builder.compilers.base import Array
from services.builder.model_config import FINGERPRINT_PARAMETER, IMAGE_VERSION, ModelConfig
from services.builder.repository import ModelFolder
from services.builder.server import Server
from services.builder.verify import compare, demand
from services.core.errors import RepositoryError, ServerError, StackError
from services.core.hints import command
from services.core.published import ENCODED, GOLDEN
from services.images.inverse import picture_of
from services.numerics.agreement import Agreement, Limits
from services.numerics.golden import golden_of

log = logging.getLogger(__name__)


def publish(folder: ModelFolder, staged: Path, config: ModelConfig, server: Server | None) -> int:
    """Add a staged version and put it into service; return its number.

    Raises:
        StackError: the server did not take it; the version before it is served again, and this one is gone.
    """
    number = folder.add(staged, config)
    try:
        switch(folder, number, server)
    except BaseException:  # also Ctrl-C: an unproven version must not stay
        if folder.live() != number:  # it is, where the way back failed too; a config must never name a missing version
            folder.remove(number)
        raise
    return number


def switch(folder: ModelFolder, number: int, server: Server | None) -> None:
    """Serve a version that is in the repository; where a server answers, load it and ask it for a golden answer.

    Raises:
        StackError: the server did not take it; the version before it is served again.
    """
    previous = folder.live()
    try:
        folder.serve(number)
        if server is None:
            log.info("no server answers; version %d is served from its next start", number)
        else:
            _activate(folder, number, server)
    except BaseException as error:
        if folder.live() == previous:  # it did not come to that
            raise
        _restore(folder, previous, server)
        back = f"version {previous} is served again" if previous else "nothing is served"
        if isinstance(error, StackError):
            raise type(error)(f"{error}; {back}", hint=error.hint) from error
        raise


def ensure_served(folder: ModelFolder, number: int, server: Server | None) -> None:
    """Load the live version into a server that answers but does not have it; see that pictures can be sent to it as files, too."""
    folder.image.serve(folder.path / str(number))
    if server is None:
        return
    if not server.is_ready(folder.path.name, number):
        _activate(folder, number, server)
    elif not _has_image(folder, server):
        _activate_image(folder, number, server)


def rollback(folder: ModelFolder, number: int | None, server: Server | None) -> int:
    """Serve an older version again; return its number. With none given it is the one before the live one, or the last of a retired model.

    Raises:
        RepositoryError: there is no such version.
        StackError: the server did not take it; the version before it is served again.
    """
    live = folder.live()
    if number is None:
        older = [version.number for version in folder.versions() if live is None or version.number < live]
        if not older:
            raise RepositoryError(
                f"{folder.path.name} has no version {'to serve' if live is None else f'older than the live one ({live})'}",
                hint=f"{command('builder', 'list')} shows the versions",
            )
        number = older[-1]
    if number != live:
        switch(folder, number, server)
    return number


def retire(folder: ModelFolder, server: Server | None) -> int:
    """Take the model out of service; its versions stay. Return the version that was served.

    Raises:
        RepositoryError: nothing is served.
        ServerError: the server does not unload it; it is still in service.
    """
    live = folder.live()
    if live is None:
        raise RepositoryError(f"{folder.path.name} is not in service", hint=f"{command('builder', 'list')} shows the versions")
    folder.unserve()
    try:
        if server is not None:
            _unload(folder, server)
    except BaseException:
        _restore(folder, live, server)
        raise
    return live


def _activate(folder: ModelFolder, number: int, server: Server) -> None:
    server.load(folder.path.name, number)
    demand(served_agreement(folder, number, server), f"{folder.path.name} version {number}, asked over gRPC,")
    _activate_image(folder, number, server)


def _activate_image(folder: ModelFolder, number: int, server: Server) -> None:
    """See that the server has the model that takes pictures as files, and ask it, too."""
    image = folder.image
    if not image.fingerprint():
        _unload_image(folder, server)
        return
    if not _has_image(folder, server):
        try:
            server.load(image.name, IMAGE_VERSION)
        except ServerError as error:
            hint = "a server of an older release cannot: stop it (scripts/down) and start it again (scripts/up)"
            log.warning("%s is served, but takes no pictures as files: %s; %s", folder.path.name, error, hint)
            return
    demand(served_agreement(folder, number, server, as_files=True), f"{image.name}, asked over gRPC,")


def _unload(folder: ModelFolder, server: Server) -> None:
    _unload_image(folder, server)
    server.unload(folder.path.name)


def _unload_image(folder: ModelFolder, server: Server) -> None:
    if server.parameter(folder.image.name, FINGERPRINT_PARAMETER):
        server.unload(folder.image.name)


def _has_image(folder: ModelFolder, server: Server) -> bool:
    return server.parameter(folder.image.name, FINGERPRINT_PARAMETER) == folder.image.fingerprint()


def served_agreement(folder: ModelFolder, number: int, server: Server, *, as_files: bool = False) -> Agreement:
    """Agreement of a loaded version with its whole golden set, within the limits that it was proven with.

    Args:
        folder: the model.
        number: the version.
        server: where it is loaded.
        as_files: ask with pictures as files, and so the model beside it that takes them.
    """
    record, card = folder.record(number), folder.card(number)
    golden = golden_of(folder.path / str(number) / GOLDEN, card, record.HINT)

    def ask(inputs: Array) -> Array:
        if not as_files:
            return server.infer(card.name, number, (card.input.name, inputs), card.output.name)
        pictures = np.array([[picture_of(tensor, card.preprocessing)] for tensor in inputs], np.object_)
        return server.infer(folder.image.name, IMAGE_VERSION, (ENCODED, pictures), card.output.name)

    found = np.concatenate([ask(part.inputs) for part in golden.batches(record.max_batch)])
    return compare(found, golden.scores, Limits.of(record.accuracy.model_dump()))


def _restore(folder: ModelFolder, previous: int | None, server: Server | None) -> None:
    """Best effort: the error that led here is the one to report."""
    try:
        if previous is None:
            folder.unserve()
        else:
            folder.serve(previous)
        if server is None:
            return
        if previous is None:
            _unload(folder, server)
        else:
            server.load(folder.path.name, previous)
            _activate_image(folder, previous, server)
    except StackError as error:
        log.warning("what was served before could not be brought back: %s", error)
