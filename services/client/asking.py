"""A served model, asked by several connections at a time: what the classifiers and the command line have in common."""

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Self

from services.client.answers import answers
from services.client.connect import connect
from services.client.pictures import Named, batches
from services.client.protocol import RefusedError, Transport
from services.client.report import Result
from services.client.served import ReplacedError, ServedModel
from services.client.wait import wait_until_ready
from services.client.workers import LEAVE_SECONDS, Job, Workers
from services.core.errors import SettingsError
from services.core.settings import ClientSettings


class Asking:
    """Several threads may use one at a time; together they have as many requests in flight as the settings say.

    Args:
        model: whom to ask; its own connection is not used.
        settings: how to send, and how many at a time.
        connection: makes one; by the settings where None.
    """

    def __init__(
        self, model: ServedModel, settings: ClientSettings, connection: Callable[[], AbstractContextManager[Transport]] | None = None
    ) -> None:
        self.model = model
        self._settings = settings
        self._workers = Workers(settings.client_in_flight, connection or functools.partial(connect, settings))

    @classmethod
    def of(cls, settings: ClientSettings) -> Self:
        """Wait for the model, and read what it says of itself.

        Raises:
            ContractError: it carries no card, or one of another release.
            ServerError: it was not ready in time, or cannot be asked.
            SettingsError: an address cannot be used, or no model is named and the server has several.
        """
        name = wait_until_ready(settings, settings.wait_seconds)
        with connect(settings) as transport:
            return cls(ServedModel.of(transport, name, settings), settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(after_error=kind is not None)

    def close(self, *, after_error: bool = False) -> None:
        """Close the connections; an idle one would delay the server's own end.

        ``after_error``, such as Ctrl-C, nobody wants the answers under way, and they are waited for only briefly.
        """
        self._workers.close(LEAVE_SECONDS if after_error else None)

    def one(self, picture: Named, top: int) -> Future[list[Result]]:
        """Ask about one picture."""
        return self._workers.submit(self._job([picture], top))

    def groups(self, pictures: Iterable[Named], top: int) -> Generator[list[Result], None, None]:
        """Ask about any number of pictures; results come in their order, some at a time, as soon as they are there.

        Raises:
            ServerError: the server refuses, or went away; what came before stays valid.
        """
        return self._workers.in_order(self._jobs(pictures, top))

    def groups_async(self, pictures: Iterable[Named], top: int) -> AsyncGenerator[list[Result], None]:
        """The same, for an event loop."""
        return self._workers.in_order_async(self._jobs(pictures, top))

    def _jobs(self, pictures: Iterable[Named], top: int) -> Iterator[Job[Transport, list[Result]]]:
        return (self._job(group, top) for group in batches(pictures, self.model.batch))

    def _job(self, group: list[Named], top: int) -> Job[Transport, list[Result]]:
        if top < 1:
            raise SettingsError(f"top is {top}, expected at least 1")
        return lambda transport: self._ask(transport, group, top)

    def _ask(self, transport: Transport, group: list[Named], top: int) -> list[Result]:
        """Ask by the card of the version that answers: it may be replaced at any time, also by one with other preprocessing."""
        while True:
            model = self.model
            try:
                return answers(model.over(transport), group, top, max_pixels=self._settings.max_pixels)
            except (ReplacedError, RefusedError):
                found = ServedModel.of(transport, model.name, self._settings)
                if found.version == model.version:
                    raise
                self.model = found
