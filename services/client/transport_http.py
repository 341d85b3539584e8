"""Triton over HTTP (KServe v2), by tritonclient."""

import contextlib
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import gevent.hub  # type: ignore[import-untyped]
import tritonclient.http as triton
from geventhttpclient.response import HTTPConnectionClosed
from tritonclient.utils import InferenceServerException

from services.client.address import Address
from services.client.transport import CONNECT_SECONDS, Answer, BusyError, Question, not_triton, unreachable
from services.core.errors import ServerError

_SETTING, _PORT = "TRITON_URL (--url)", 8000
_GATEWAY = ("502", "503", "504")
_NO_JSON = "an exception occurred in the client while decoding the response"
"""How tritonclient begins its message about an error reply that is not Triton's JSON."""

# Ctrl-C during a request is no error of the event loop, which would print a traceback.
gevent.hub.Hub.NOT_ERROR = (*gevent.hub.Hub.NOT_ERROR, KeyboardInterrupt)


class HttpTransport:
    """See ``transport.Transport``."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.where = f"{'https' if address.secure else 'http'}://{address.target}"
        self._timeout = timeout
        self._client = triton.InferenceServerClient(
            address.target,
            connection_timeout=min(timeout, CONNECT_SECONDS),
            network_timeout=timeout,
            ssl=address.secure,
        )

    def close(self) -> None:
        """Close the connections; an idle one would hold up the server's own end."""
        self._client.close()

    def is_ready(self, model: str) -> bool:
        """See ``transport.Transport``."""
        with self._errors():
            # Triton's own metrics port says 200 to anything, and a stranger's web server may, too.
            if "extensions" not in self._client.get_server_metadata():
                raise not_triton(self.where, "its answer is not Triton's", _SETTING, _PORT)
            return bool(self._client.is_model_ready(model))

    def config(self, model: str) -> dict[str, Any]:
        """See ``transport.Transport``."""
        with self._errors():
            return dict(self._client.get_model_config(model))

    def infer(self, question: Question) -> Answer:
        """See ``transport.Transport``."""
        tensor = triton.InferInput(question.input_name, question.batch.shape, question.input_type)
        tensor.set_data_from_numpy(question.batch)
        output = triton.InferRequestedOutput(question.output_name, class_count=question.classes)
        with self._errors():
            result = self._client.infer(question.model, [tensor], outputs=[output])
            return Answer(int(result.get_response()["model_version"]), result.as_numpy(question.output_name))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise self._refusal(error.message(), error.status() or "") from None
        except TimeoutError:
            raise unreachable(self.where, f"no answer within {self._timeout:g} s", _SETTING, _PORT) from None
        except HTTPConnectionClosed:
            raise unreachable(self.where, "it closed the connection", _SETTING, _PORT) from None
        except (HTTPException, ValueError):
            raise not_triton(self.where, "it does not speak Triton's HTTP protocol", _SETTING, _PORT) from None
        except OSError as error:
            raise unreachable(self.where, error.strerror or str(error), _SETTING, _PORT) from None

    def _refusal(self, message: str, status: str) -> ServerError:
        if message.startswith(_NO_JSON):
            if status in _GATEWAY:
                return unreachable(self.where, f"a gateway says HTTP {status}", _SETTING, _PORT)
            return not_triton(self.where, f"it answers HTTP {status}, and not in Triton's way", _SETTING, _PORT)
        refused = f"{self.where} refuses (HTTP {status}): {message}"
        return BusyError(refused) if status == "503" else ServerError(refused, hint="the server's log says more")
