"""Putting a version into service, and back out again when it does not prove itself."""

import logging
from pathlib import Path

import numpy as np

from services.builder.model_config import ModelConfig
from services.builder.repository import ModelFolder
from services.builder.server import Server
from services.builder.verify import compare, demand
from services.core.errors import RepositoryError, StackError
from services.core.hints import command
from services.core.published import GOLDEN
from services.numerics.agreement import Agreement, Limits
from services.numerics.golden import load_golden

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
    """Load the live version into a server that answers but does not have it."""
    if server is not None and not server.is_ready(folder.path.name, number):
        _activate(folder, number, server)


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
            server.unload(folder.path.name)
    except BaseException:
        folder.serve(live)
        raise
    return live


def _activate(folder: ModelFolder, number: int, server: Server) -> None:
    server.load(folder.path.name, number)
    demand(served_agreement(folder, number, server), f"{folder.path.name} version {number}, asked over gRPC,")


def served_agreement(folder: ModelFolder, number: int, server: Server) -> Agreement:
    """Agreement of a loaded version with its whole golden set, within the limits that it was proven with."""
    record, card = folder.record(number), folder.card(number)
    golden = load_golden(folder.path / str(number) / GOLDEN)
    found = np.concatenate([server.infer(card, number, part.inputs) for part in golden.batches(record.max_batch)])
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
            server.unload(folder.path.name)
        else:
            server.load(folder.path.name, previous)
    except StackError as error:
        log.warning("what was served before could not be brought back: %s", error)
