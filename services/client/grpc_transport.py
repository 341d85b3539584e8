"""Triton over gRPC (KServe v2), by tritonclient."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

# Read when gRPC is imported: its own lines about a failed handshake say less than the error below.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import tritonclient.grpc as triton
from tritonclient.grpc.auth import BasicAuth
from tritonclient.utils import InferenceServerException

from services.client.address import Address
from services.client.diagnosis import not_triton, unreachable, untrusted
from services.client.protocol import (
    CONNECT_SECONDS,
    KEY_HINT,
    MALFORMED,
    SERVER_LOG_HINT,
    Answer,
    BusyError,
    ClosedError,
    Credentials,
    Question,
    RefusedError,
    answer_to,
    is_passing,
    tensors_of,
)
from services.core.errors import ServerError

_CHANNEL = [
    ("grpc.max_send_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
    # By default gRPC waits up to two minutes between attempts, long after the server has come up.
    ("grpc.max_reconnect_backoff_ms", 2000),
]
_NOT_HTTP2 = "Failed parsing HTTP/2"
"""How gRPC begins its message about something else on the port."""
_NO_SUCH_PATH = "http2 header with status: 404"
"""What it says of the gateway's answer to a method that it does not let through."""


class GrpcTransport:
    """See ``protocol.Transport``."""

    def __init__(self, address: Address, timeout: float, key: Credentials | None = None) -> None:
        self.where = str(address)
        self._address = address
        self._timeout = timeout
        self._client = triton.InferenceServerClient(address.target, ssl=address.tls, channel_args=_CHANNEL)
        if key:
            self._client.register_plugin(BasicAuth(*key))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def models(self) -> list[str]:
        """See ``protocol.Transport``."""
        with self._errors():
            return sorted({model.name for model in self._client.get_inference_statistics(client_timeout=self._timeout).model_stats})

    def is_ready(self, model: str) -> bool:
        """See ``protocol.Transport``."""
        with self._errors():
            return bool(self._client.is_model_ready(model, client_timeout=self._timeout))

    def config(self, model: str) -> dict[str, Any]:
        """See ``protocol.Transport``."""
        with self._errors():
            return dict(self._client.get_model_config(model, as_json=True, client_timeout=self._timeout)["config"])

    def infer(self, question: Question) -> Answer:
        """See ``protocol.Transport``."""
        inputs, outputs = tensors_of(question, triton)
        with self._errors():
            result = self._client.infer(question.model, inputs, outputs=outputs, client_timeout=self._timeout)
            return answer_to(question, result.as_numpy, result.get_response().model_version)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            status = (error.status() or "").removeprefix("StatusCode.")
            raise self._refusal(error.message() or "", status) from None
        except MALFORMED:
            raise not_triton(self._address, "it does not speak Triton's gRPC protocol") from None

    def _refusal(self, message: str, status: str) -> ServerError:
        if _NOT_HTTP2 in message:
            return not_triton(self._address, "it does not speak gRPC")
        if "CERTIFICATE_VERIFY_FAILED" in message:
            return untrusted(self._address)
        refused = f"{self.where} refuses ({status}): {message}"
        if is_passing(message):
            return BusyError(refused)
        if status == "UNAVAILABLE":
            # gRPC says the same of a lost connection and of what the server cannot do at the moment.
            return BusyError(refused) if self._is_live() else unreachable(self._address, message)
        if status == "DEADLINE_EXCEEDED":
            return unreachable(self._address, f"no answer within {self._timeout:g} s")
        if status == "UNAUTHENTICATED":
            return ServerError(refused, hint=KEY_HINT)
        if _NO_SUCH_PATH in message:
            return ClosedError(refused)
        if status == "UNIMPLEMENTED":
            return not_triton(self._address, "it does not know Triton's gRPC service")
        return RefusedError(refused, message) if status == "INVALID_ARGUMENT" else ServerError(refused, hint=SERVER_LOG_HINT)

    def _is_live(self) -> bool:
        try:
            return bool(self._client.is_server_live(client_timeout=min(self._timeout, CONNECT_SECONDS)))
        except InferenceServerException:
            return False
