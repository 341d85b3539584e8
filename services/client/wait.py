"""Waiting with a bound: for the model to get ready, and for an overloaded server to take a request."""

import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from services.client.connect import connect
from services.client.protocol import CONNECT_SECONDS, AbsentError, BusyError, ClosedError, Transport, UnreachableError
from services.core import hints, stage
from services.core.errors import ServerError, SettingsError
from services.core.names import by_themselves
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)

ABSENT_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
_BUSY_HINT = "send fewer requests at a time; if the builder's MAX_QUEUE_SIZE or QUEUE_TIMEOUT_MS is set, raise it"

Result = TypeVar("Result")


class NotReadyError(ServerError):
    """The server answers, but the model does not answer questions yet."""


def wait_until_ready(settings: ClientSettings, absent_seconds: float = ABSENT_SECONDS) -> str:
    """Return as soon as the model answers questions.

    Args:
        settings: the server, the model (the one that is served where none is named), and how long to wait.
        absent_seconds: how long to wait while nothing listens at the address at all, if that is less.

    Returns:
        The name of the model.

    Raises:
        ServerError: it was not ready in time, or the address is not a Triton server's.
        SettingsError: no model is named, and the server has several.
    """
    started = time.monotonic()
    absent_since, pause, said = started, 0.2, ""
    with contextlib.ExitStack() as stack:
        transport = stack.enter_context(connect(settings, timeout=max(1.0, min(CONNECT_SECONDS, settings.wait_seconds))))
        while True:
            try:
                return _ready_model(transport, settings.name)
            except (UnreachableError, BusyError, NotReadyError) as error:
                problem = error
            if not said:
                stack.enter_context(stage.progress(f"waiting for {settings.name or 'a model'} at {transport.where}"))
            if str(problem) != said:
                said = str(problem)
                log.info("not yet: %s", said)
            now = time.monotonic()
            waiting_since, bound = started, settings.wait_seconds
            if not isinstance(problem, AbsentError):
                absent_since = now
            elif absent_seconds < bound:
                waiting_since, bound = absent_since, absent_seconds
            if now + pause > waiting_since + bound:
                raise type(problem)(f"{problem} (waited {bound:g} s)", hint=problem.hint)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def _ready_model(transport: Transport, wanted: str) -> str:
    """The model to ask.

    Raises:
        NotReadyError: it is not ready yet.
        ClosedError: none is wanted in particular, and a gateway gives no list.
        ServerError: the server cannot be asked.
        SettingsError: none is wanted in particular, and the server has several.
    """
    if wanted and transport.is_ready(wanted):
        return wanted
    try:
        others = by_themselves(transport.models())
    except ClosedError:
        if not wanted:
            raise
        found = f"{transport.where} answers, but its model {wanted} is not ready, or not there"
        raise NotReadyError(found, hint="--model (MODEL_NAME) names another; whoever runs the server knows which there are") from None
    if not wanted and len(others) == 1:
        return others[0]
    if not wanted and others:
        raise SettingsError(f"{transport.where} serves several models: {', '.join(others)}", hint="name one with --model (MODEL_NAME)")
    what = f"its model {wanted} is not ready; ready are: {', '.join(others) or 'none'}" if wanted else "it has no model that is ready"
    published = hints.command("builder", "list")
    hint = f"its log says why ({hints.server_log()}); `{published}` shows what is published; --model (MODEL_NAME) names another"
    raise NotReadyError(f"{transport.where} answers, but {what}", hint=hint)


def patiently(ask: Callable[[], Result], seconds: float) -> Result:
    """Ask again, with growing random pauses, while the server says that it is overloaded, or gives no answer at all.

    A question changes nothing in the server, so one that may have got there can be asked again. One that had no answer
    in the whole of its own time is not: that time is ``seconds``, too.

    Raises:
        ServerError: it still was so after ``seconds``, or another error came up.
    """
    deadline = time.monotonic() + seconds
    pause, told = _FIRST_PAUSE_SECONDS, False
    while True:
        try:
            return ask()
        except (BusyError, UnreachableError) as error:
            wait = pause * random.uniform(0.5, 1)  # noqa: S311 - spreads clients, hides nothing
            if time.monotonic() + wait > deadline:
                again = f" (asked again for {seconds:g} s)" if pause > _FIRST_PAUSE_SECONDS else ""
                raise type(error)(f"{error}{again}", hint=error.hint or _BUSY_HINT) from None
            if pause == LONGEST_PAUSE_SECONDS and not told:
                log.warning("%s; asking again for %.0f s", error, deadline - time.monotonic())
                told = True
            time.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
