"""What the client asks of a server, whichever protocol carries it."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from services.core.errors import ServerError

CONNECT_SECONDS = 5.0
SERVER_LOG_HINT = "the server's log says more"
_BUSY = ("exceeds maximum queue size", "timeout expired")
"""What Triton's dynamic batcher says when it refuses a request because of load (core, scheduler_utils.cc)."""


class UnreachableError(ServerError):
    """There is no answer from the address; that may change."""


class AbsentError(UnreachableError):
    """Nothing listens at the address, or its host is unknown: most likely nobody has started a server."""


class BusyError(ServerError):
    """The server is overloaded; the same request may succeed a moment later."""


class NotTritonError(ServerError):
    """Something answers at the address, but not a Triton server, or not in this protocol."""


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
    """A connection to a server. Every method raises ``ServerError`` or one of its kinds above."""

    where: str

    def models(self) -> list[str]:
        """Names of the models that answer questions."""

    def is_ready(self, model: str) -> bool:
        """Whether the model answers questions; a server that does not know it yet says no, too."""

    def config(self, model: str) -> dict[str, Any]:
        """The model's configuration, with the keys of ``config.pbtxt``."""

    def infer(self, question: Question) -> Answer:
        """Ask once."""

    def close(self) -> None:
        """Close the connections."""


def is_overload(message: str) -> bool:
    """Whether a server's message means that it has too much to do at the moment."""
    return any(text in message.lower() for text in _BUSY)
