"""Triton's HTTP and gRPC protocols behind one small interface, with errors that say what happened."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from services.client.address import grpc_address, http_address
from services.core.errors import ServerError
from services.core.settings import ClientSettings

CONNECT_SECONDS = 5.0
_BUSY = ("exceeds maximum queue size", "timeout expired")
"""What Triton's dynamic batcher says when it refuses a request because of load (core, scheduler_utils.cc)."""


class UnreachableError(ServerError):
    """Nothing answers at the address; that may change."""


class BusyError(ServerError):
    """The server is overloaded; the same request may succeed a moment later."""


class NotTritonError(ServerError):
    """Something answers at the address, and it is no Triton server."""


@dataclass(frozen=True)
class Question:
    """One inference request; ``classes`` is the k of the classification extension, 0 asks for the whole output."""

    model: str
    input_name: str
    input_type: str
    batch: npt.NDArray[Any]
    output_name: str
    classes: int = 0


class Answer(NamedTuple):
    """The output tensor, first dimension the batch, and the version of the model that gave it."""

    version: int
    output: npt.NDArray[Any]


class Transport(Protocol):
    """What the client asks of a server. Every method raises ``ServerError`` or one of its kinds above."""

    where: str

    def is_ready(self, model: str) -> bool:
        """Whether the model answers questions; a server that does not know it yet says no, too."""

    def config(self, model: str) -> dict[str, Any]:
        """The model's configuration, with the keys of ``config.pbtxt``."""

    def infer(self, question: Question) -> Answer:
        """Ask once."""


@contextlib.contextmanager
def connect(settings: ClientSettings, timeout: float | None = None) -> Iterator[Transport]:
    """A transport of the protocol in the settings; nothing is sent yet.

    Args:
        settings: addresses and protocol.
        timeout: seconds that one request may take; the setting where None.

    Raises:
        SettingsError: the address is none.
    """
    # Either library costs a third of a second to import, and only one is used.
    from services.client import transport_grpc, transport_http

    seconds = settings.request_timeout_seconds if timeout is None else timeout
    transport: transport_http.HttpTransport | transport_grpc.GrpcTransport
    if settings.protocol == "http":
        transport = transport_http.HttpTransport(http_address(settings.triton_url), seconds)
    else:
        transport = transport_grpc.GrpcTransport(grpc_address(settings.triton_grpc_url), seconds)
    try:
        yield transport
    finally:
        transport.close()


def is_overload(message: str) -> bool:
    """Whether a server's message means that it has too much to do at the moment."""
    return any(text in message.lower() for text in _BUSY)


def unreachable(where: str, reason: str, setting: str, port: int) -> UnreachableError:
    """The error of a server that does not answer."""
    hint = f"start it with `docker compose up`, or correct {setting}; the port of this protocol is {port} unless it was changed"
    return UnreachableError(f"no Triton server answers at {where}: {reason}", hint=hint)


def not_triton(where: str, found: str, setting: str, port: int) -> NotTritonError:
    """The error of an address that belongs to something else."""
    return NotTritonError(
        f"{where} is no Triton server: {found}", hint=f"correct {setting}; the port of this protocol is {port} unless it was changed"
    )
