"""``_control``: has the server load what is published (Triton's Python backend, model loading API).

Triton's own model control wants a key on its command line, where every account of the host reads it; and with it a server can be told
to load anything. This model takes no orders. It is asked for a name, and brings the server in line with the model repository, where
only those publish who may write there. So everybody may ask it, and nobody gains by it. API: ``README.md`` of
triton-inference-server/python_backend.
"""

import contextlib
import http
import http.client
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from services.core.names import CONTROL, is_trial_name, served_name
from services.core.published import CONFIG, CONTROL_HEADER, CONTROL_INPUT, CONTROL_OUTPUT
from services.triton.models import regions

LOADED, UNCHANGED, UNLOADED = "loaded", "unchanged", "unloaded"


class TritonPythonModel:
    """Its only instance answers one request after the other."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """See where the models are published; the launcher says it."""
        regions.make_private()
        self._repository = Path(os.environ["STACK_REPOSITORY"])
        self._key, self._port = os.environ.get("STACK_CONTROL_KEY", ""), os.environ.get("STACK_HTTP_PORT", "")
        self._loaded: dict[str, tuple[int, int]] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each with what had to be done: loaded, unchanged or unloaded."""
        return [self._response(pb_utils.get_input_tensor_by_name(request, CONTROL_INPUT).as_numpy()) for request in requests]

    def _response(self, asked: Any) -> Any:
        name = asked.ravel()[0].decode(errors="replace") if asked.size == 1 else ""
        if not name or name.startswith("_") or served_name("", name) != name:
            message = f"found {name[:200]!r}, expected the name of a published model"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        try:
            state = self._bring_in_line(name)
        except Exception as error:  # of Triton's model loading; it names no kinds, and wraps the reason in words about this model
            message = str(error).rpartition(f"for model '{CONTROL}_0_0', message: ")[2]
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.UNAVAILABLE))
        return pb_utils.InferenceResponse([pb_utils.Tensor(CONTROL_OUTPUT, np.array([state.encode()], np.object_))])

    def _bring_in_line(self, name: str) -> str:
        """What is live on disk is what the server has, and what was loaded before is not loaded again."""
        found, ready = _identity(self._repository / name / CONFIG), pb_utils.is_model_ready(model_name=name)
        if found is None:
            # The folder of a retired model stays; a repository that is away for a while takes nothing out of service.
            if not ready or not (is_trial_name(name) or (self._repository / name).is_dir()):
                return UNCHANGED
            self._ask("unload", name)
            return UNLOADED
        if ready and self._loaded.get(name) == found:
            return UNCHANGED
        self._loaded.pop(name, None)
        self._ask("load", name)
        self._loaded[name] = found
        return LOADED

    def _ask(self, what: str, name: str) -> None:
        """Load or unload a model: by the model loading API, or by the server's HTTP port where the launcher has given a key for it."""
        if not self._key:
            getattr(pb_utils, f"{what}_model")(model_name=name)
            return
        connection = http.client.HTTPConnection("127.0.0.1", int(self._port))
        with contextlib.closing(connection):
            connection.request("POST", f"/v2/repository/models/{name}/{what}", "{}", {CONTROL_HEADER: self._key})
            answer = connection.getresponse()
            content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(json.loads(content)["error"])


def _identity(config: Path) -> tuple[int, int] | None:
    """Each publication writes a new file; None where there is none."""
    try:
        found = config.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
