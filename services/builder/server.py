"""The live server, where there is one: load a published model, and ask it for a golden answer."""

import logging
import time

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.builder.compilers.base import Array
from services.core.errors import ServerError
from services.core.hints import server_log
from services.core.names import CONTROL
from services.core.published import CONTROL_INPUT
from services.core.stage import progress

log = logging.getLogger(__name__)

_PROBE_SECONDS = 2.0


class Server:
    """A Triton server, over gRPC."""

    def __init__(self, url: str, load_timeout_seconds: float) -> None:
        self._url = url
        self._client = InferenceServerClient(url)
        self._timeout = load_timeout_seconds

    def answers(self) -> bool:
        """Whether a server is there at all."""
        try:
            return bool(self._client.is_server_live(client_timeout=_PROBE_SECONDS))
        except InferenceServerException:
            return False

    def is_ready(self, name: str, version: int) -> bool:
        """Whether a version is loaded and ready."""
        try:
            return bool(self._client.is_model_ready(name, str(version), client_timeout=_PROBE_SECONDS))
        except InferenceServerException:
            return False

    def load(self, name: str, version: int) -> None:
        """Have the server load what is published, and wait until the version is ready.

        Raises:
            ServerError: it refuses, or the version does not get ready.
        """
        with progress(f"Triton at {self._url} loads {name} version {version}"):
            try:
                self._bring_in_line(name)
            except InferenceServerException as error:
                raise ServerError(
                    f"Triton at {self._url} did not load {name} version {version}: {error.message()}", hint=_hint(error)
                ) from None
            deadline = time.monotonic() + self._timeout
            while not self.is_ready(name, version):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{name} version {version} was not ready within {self._timeout:g} s",
                        hint=f"look into the server's log: {server_log()}",
                    )
                time.sleep(0.1)

    def unload(self, name: str) -> None:
        """Have the server drop a model that is no longer in the repository.

        Raises:
            ServerError: it does not.
        """
        try:
            self._bring_in_line(name)
        except InferenceServerException as error:
            raise ServerError(f"Triton at {self._url} did not unload {name}: {error.message()}", hint=_hint(error)) from None

    def _bring_in_line(self, name: str) -> None:
        """Have the server look at the repository; ``services/triton/control.py`` is the other side."""
        asked = InferInput(CONTROL_INPUT, [1], "BYTES")
        asked.set_data_from_numpy(np.array([name.encode()], np.object_))
        self._client.infer(CONTROL, [asked], client_timeout=self._timeout)

    def parameter(self, name: str, parameter: str) -> str:
        """A parameter in the config of a loaded model; "" where the model is not loaded, or has none of that name.

        Raises:
            ServerError: the server does not say.
        """
        try:
            config = self._client.get_model_config(name, client_timeout=self._timeout).config
        except InferenceServerException as error:
            if "unknown model" in (error.message() or ""):
                return ""
            raise ServerError(
                f"Triton at {self._url} does not say what it has of {name}: {error.message()}", hint=f"look into its log: {server_log()}"
            ) from None
        return str(config.parameters[parameter].string_value)

    def infer(self, name: str, version: int, inputs: tuple[str, Array], output: str) -> Array:
        """One output of one version for one named input.

        Raises:
            ServerError: the request fails.
        """
        tensor = InferInput(inputs[0], list(inputs[1].shape), np_to_triton_dtype(inputs[1].dtype))
        tensor.set_data_from_numpy(inputs[1])
        try:
            result = self._client.infer(
                name, [tensor], model_version=str(version), outputs=[InferRequestedOutput(output)], client_timeout=self._timeout
            )
        except InferenceServerException as error:
            raise ServerError(
                f"{name} version {version} does not answer: {error.message()}", hint=f"look into the server's log: {server_log()}"
            ) from None
        found: Array = result.as_numpy(output)
        return found


def _hint(error: InferenceServerException) -> str:
    if f"unknown model: '{CONTROL}'" in (error.message() or ""):
        return "the server was not started by this release: stop it (scripts/down), and start it again (scripts/up)"
    return f"look into the server's log ({server_log()}); is it this stack's server, on this model repository?"
