"""Waiting with a bound: for the model to get ready, and for an overloaded server to take a request."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from services.client.transport import CONNECT_SECONDS, BusyError, Transport, UnreachableError, connect
from services.core import stage
from services.core.errors import ServerError
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 1.0

Result = TypeVar("Result")


def wait_until_ready(settings: ClientSettings) -> None:
    """Return as soon as the model answers questions.

    Raises:
        ServerError: it was not ready within ``wait_seconds``, or the address is not a Triton server's.
    """
    deadline = time.monotonic() + settings.wait_seconds
    with connect(settings, timeout=max(1.0, min(CONNECT_SECONDS, settings.wait_seconds))) as transport:
        problem = _problem(transport, settings.name)
        if problem is None:
            return
        with stage.progress(f"waiting up to {settings.wait_seconds:g} s for {settings.name} at {transport.where}"):
            pause, said = 0.2, ""
            while problem is not None:
                if str(problem) != said:
                    said = str(problem)
                    log.info("not yet: %s", said)
                if time.monotonic() + pause > deadline:
                    raise ServerError(f"{problem} (waited {settings.wait_seconds:g} s)", hint=problem.hint)
                time.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
                problem = _problem(transport, settings.name)


def _problem(transport: Transport, model: str) -> ServerError | None:
    try:
        if transport.is_ready(model):
            return None
    except (UnreachableError, BusyError) as error:
        return error
    hint = "its log says why (docker compose logs triton); builder list shows what is published; --model (MODEL_NAME) names another"
    return ServerError(f"{transport.where} answers, but its model {model} is not ready", hint=hint)


def patiently(ask: Callable[[], Result], seconds: float) -> Result:
    """Ask again, with growing random pauses, while the server says that it is overloaded.

    Raises:
        ServerError: it still was after ``seconds``, or another error came up.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    while True:
        try:
            return ask()
        except BusyError as error:
            wait = pause * random.uniform(0.5, 1)  # noqa: S311 - spreads clients, hides nothing
            if time.monotonic() + wait > deadline:
                hint = "ask fewer at once, or raise the builder's MAX_QUEUE_SIZE and QUEUE_TIMEOUT_MS"
                raise ServerError(f"{error} (asked again for {seconds:g} s)", hint=hint) from None
            log.debug("%s; asking again in %.2f s", error, wait)
            time.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
