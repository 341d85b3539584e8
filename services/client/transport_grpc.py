"""Triton over gRPC (KServe v2), by tritonclient."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from services.client.address import Address
from services.client.transport import Answer, BusyError, Question, is_overload, not_triton, unreachable
from services.core.errors import ServerError

_SETTING, _PORT = "TRITON_GRPC_URL (--grpc-url)", 8001
_CHANNEL = [
    ("grpc.max_send_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
    # By default gRPC waits up to two minutes between attempts, long after the server has come up.
    ("grpc.max_reconnect_backoff_ms", 2000),
]
_NO_HTTP2 = "Failed parsing HTTP/2"
"""How gRPC begins its message about something else on the port."""


class GrpcTransport:
    """See ``transport.Transport``."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.where = f"{'grpcs' if address.secure else 'grpc'}://{address.target}"
        self._timeout = timeout
        self._client = triton.InferenceServerClient(address.target, ssl=address.secure, channel_args=_CHANNEL)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def is_ready(self, model: str) -> bool:
        """See ``transport.Transport``."""
        with self._errors():
            return bool(self._client.is_model_ready(model, client_timeout=self._timeout))

    def config(self, model: str) -> dict[str, Any]:
        """See ``transport.Transport``."""
        with self._errors():
            return dict(self._client.get_model_config(model, as_json=True, client_timeout=self._timeout)["config"])

    def infer(self, question: Question) -> Answer:
        """See ``transport.Transport``."""
        tensor = triton.InferInput(question.input_name, question.batch.shape, question.input_type)
        tensor.set_data_from_numpy(question.batch)
        output = triton.InferRequestedOutput(question.output_name, class_count=question.classes)
        with self._errors():
            result = self._client.infer(question.model, [tensor], outputs=[output], client_timeout=self._timeout)
            return Answer(int(result.get_response().model_version), result.as_numpy(question.output_name))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            status = (error.status() or "").removeprefix("StatusCode.")
            raise self._refusal(error.message() or "", status) from None

    def _refusal(self, message: str, status: str) -> ServerError:
        if _NO_HTTP2 in message:
            return not_triton(self.where, "it does not speak gRPC", _SETTING, _PORT)
        if status == "UNAVAILABLE":
            busy = BusyError(f"{self.where} refuses ({status}): {message}")
            return busy if is_overload(message) else unreachable(self.where, message, _SETTING, _PORT)
        if status == "DEADLINE_EXCEEDED":
            return unreachable(self.where, f"no answer within {self._timeout:g} s", _SETTING, _PORT)
        if status == "UNIMPLEMENTED":
            return not_triton(self.where, "it does not know Triton's gRPC service", _SETTING, _PORT)
        return ServerError(f"{self.where} refuses ({status}): {message}", hint="the server's log says more")
