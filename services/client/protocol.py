"""What the client asks of a server, whichever protocol carries it."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from services.core.errors import ServerError

CONNECT_SECONDS = 5.0
SERVER_LOG_HINT = "the server's log says more"
KEY_HINT = "give API_KEY_FILE (--api-key-file) a file with NAME:KEY, which whoever runs the server has made by scripts/keys add"
_BUSY = ("exceeds maximum queue size", "timeout expired")
"""What Triton's dynamic batcher says when it refuses a request because of load (core, scheduler_utils.cc)."""
_ENDED = ("is not healthy", "is unhealthy")
"""What it says of the process of a Python model that has died: another is started (python_backend, python_be.cc)."""

MALFORMED = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError, struct.error)
"""What reading a stranger's answer ends in, in the libraries and here."""


class UnreachableError(ServerError):
    """There is no answer from the address; that may change."""


class AbsentError(UnreachableError):
    """Nothing listens at the address, or its host is unknown: most likely nobody has started a server."""


class BusyError(ServerError):
    """The server is overloaded; the same request may succeed a moment later."""


class RefusedError(ServerError):
    """The request itself cannot be answered, now or later; ``said`` is what the server says of it."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message, hint=SERVER_LOG_HINT)
        self.said = said


class ClosedError(ServerError):
    """A gateway does not let this question through, and Triton would answer it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="a gateway gives no list of models: name one with --model (MODEL_NAME)")


class NotTritonError(ServerError):
    """Something answers at the address, but not a Triton server, or not in this protocol."""


@dataclass(frozen=True)
class Question:
    """One inference request.

    ``classes`` is the k of the classification extension, 0 asks for the whole output. ``version_name`` is the output
    (INT64 ``[N,1]``) by which a model that asks another one says which version of that answered; "" where there is none.
    """

    model: str
    input_name: str
    input_type: str
    batch: npt.NDArray[Any]
    output_name: str
    classes: int = 0
    version_name: str = ""


class Credentials(NamedTuple):
    """A name and its key, for HTTP Basic authentication."""

    name: str
    key: str


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


def tensors_of(question: Question, library: Any) -> tuple[list[Any], list[Any]]:
    """A question as the input and output objects of ``tritonclient.http`` or ``tritonclient.grpc``."""
    tensor = library.InferInput(question.input_name, question.batch.shape, question.input_type)
    tensor.set_data_from_numpy(question.batch)
    outputs = [library.InferRequestedOutput(question.output_name, class_count=question.classes)]
    if question.version_name:
        outputs.append(library.InferRequestedOutput(question.version_name))
    return [tensor], outputs


def answer_to(question: Question, output: Callable[[str], Any], model_version: str) -> Answer:
    """Read an answer.

    Args:
        question: what was asked.
        output: gives an output tensor by its name.
        model_version: of the model that was asked.
    """
    version = output(question.version_name).flat[0] if question.version_name else model_version
    return Answer(int(version), output(question.output_name))


def is_passing(message: str) -> bool:
    """Whether a server's message means that it cannot answer at the moment, but may soon."""
    return any(text in message.lower() for text in (*_BUSY, *_ENDED))
