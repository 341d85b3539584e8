"""Triton over HTTP (KServe v2), by tritonclient."""

import contextlib
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import gevent.hub  # type: ignore[import-untyped]
import tritonclient.http as triton
from gevent._hub_local import get_hub_if_exists  # type: ignore[import-untyped] # there is no public one that makes none
from geventhttpclient.response import HTTPConnectionClosed
from tritonclient.http.auth import BasicAuth
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

_GATEWAY = ("502", "503", "504")
_NO_SUCH_PATH = "there is no such path here"
"""What services/gateway/nginx.conf says."""
_NOT_JSON = "an exception occurred in the client while decoding the response"
"""How tritonclient begins its message about an error reply that is not Triton's JSON."""

# Ctrl-C during a request is not an error of the event loop, which would print a traceback.
gevent.hub.Hub.NOT_ERROR = (*gevent.hub.Hub.NOT_ERROR, KeyboardInterrupt)


class HttpTransport:
    """See ``protocol.Transport``."""

    def __init__(self, address: Address, timeout: float, key: Credentials | None = None) -> None:
        self.where = str(address)
        self._address = address
        self._timeout = timeout
        self._makes_event_loop = get_hub_if_exists() is None
        self._client = triton.InferenceServerClient(
            address.target,
            connection_timeout=min(timeout, CONNECT_SECONDS),
            network_timeout=timeout,
            ssl=address.tls,
        )
        if key:
            self._client.register_plugin(BasicAuth(*key))

    def close(self) -> None:
        """Close the connections; an idle one would delay the server's own end."""
        self._client.close()
        hub = get_hub_if_exists()
        # gevent keeps the event loop of a thread that has ended, with its open files.
        if self._makes_event_loop and hub is not None and not hub.loop.default:
            hub.destroy()

    def models(self) -> list[str]:
        """See ``protocol.Transport``."""
        with self._errors():
            self._demand_triton()
            return sorted({str(model["name"]) for model in self._client.get_inference_statistics()["model_stats"]})

    def is_ready(self, model: str) -> bool:
        """See ``protocol.Transport``."""
        with self._errors():
            self._demand_triton()
            return bool(self._client.is_model_ready(model))

    def config(self, model: str) -> dict[str, Any]:
        """See ``protocol.Transport``."""
        with self._errors():
            return dict(self._client.get_model_config(model))

    def infer(self, question: Question) -> Answer:
        """See ``protocol.Transport``."""
        inputs, outputs = tensors_of(question, triton)
        with self._errors():
            result = self._client.infer(question.model, inputs, outputs=outputs)
            return answer_to(question, result.as_numpy, result.get_response()["model_version"])

    def _demand_triton(self) -> None:
        """Triton's own metrics port says 200 to anything, and so may a stranger's web server."""
        if "extensions" not in self._client.get_server_metadata():
            raise not_triton(self._address, "its answer is not Triton's")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise self._refusal(str(error.message()), error.status() or "") from None
        except TimeoutError:
            raise unreachable(self._address, f"no answer within {self._timeout:g} s") from None
        except HTTPConnectionClosed:
            raise unreachable(self._address, "it closed the connection") from None
        except ssl.SSLCertVerificationError:  # a ValueError and an OSError, too
            raise untrusted(self._address) from None
        except (HTTPException, *MALFORMED):
            raise not_triton(self._address, "it does not speak Triton's HTTP protocol") from None
        except OSError as error:
            raise unreachable(self._address, error.strerror or str(error)) from None

    def _refusal(self, message: str, status: str) -> ServerError:
        if message.startswith(_NOT_JSON):
            if status in _GATEWAY:
                return unreachable(self._address, f"a gateway says HTTP {status}")
            return not_triton(self._address, f"it answers HTTP {status}, but not in Triton's format")
        refused = f"{self.where} refuses (HTTP {status}): {message}"
        if status in ("429", "503") or is_passing(message):
            return BusyError(refused)
        if status == "404" and _NO_SUCH_PATH in message:
            return ClosedError(refused)
        if status == "401":
            return ServerError(refused, hint=KEY_HINT)
        return RefusedError(refused, message) if status == "400" else ServerError(refused, hint=SERVER_LOG_HINT)
