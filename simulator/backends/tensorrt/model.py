"""A simulator of Triton's tensorrt backend, as a Python-based backend of the real server.

The server loads every model of ``platform: "tensorrt_plan"`` through this file when its folder stands in the backend
directory. It takes only plans of the simulated trtexec, checks them and the configuration as the real backend does, and
computes the answer with ONNX Runtime. SIMULATOR_MISBEHAVE, or a parameter ``simulator_misbehave`` of the configuration,
makes it refuse-to-load, hang, crash or give wrong-answers (misbehave.py).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from simulator import misbehave
from simulator.engine import NUMPY_TYPES, Engine
from simulator.machine import Machine
from simulator.plan import Plan
from simulator.served import RefusedModelError, check_config, check_request, load_plan


class TritonPythonModel:
    """One instance of a served plan."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load and check the plan of this version; an error is the reason that the server reports."""
        if int(np.__version__.partition(".")[0]) >= 2:
            raise pb_utils.TritonModelException(f"simulator: the server's Python stub needs numpy 1, found {np.__version__}")
        self.config: dict[str, Any] = json.loads(args["model_config"])
        parameter = (self.config.get("parameters") or {}).get("simulator_misbehave", {}).get("string_value", "")
        try:
            self.plan: Plan = load_plan(self.config, Path(args["model_repository"]) / args["model_version"], Machine.from_env())
            self.trouble = parameter or self.plan.trouble or misbehave.asked()
            if self.trouble == "refuse-to-load":
                raise RefusedModelError("unable to create TensorRT engine: asked to refuse (SIMULATOR_MISBEHAVE)")
            check_config(self.config, self.plan)
        except RefusedModelError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self.engine = Engine(self._plan_to_run(), threads=max(1, len(os.sched_getaffinity(0))))

    def _plan_to_run(self) -> Plan:
        if self.trouble != "wrong-answers":
            return self.plan
        return Plan(**{**vars(self.plan), "onnx": misbehave.wrong_answers(self.plan.onnx)})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests of a batch with one run, as the real backend does."""
        if self.trouble == "hang":
            time.sleep(86_400)
        if self.trouble == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        try:
            outputs, counts = self._run(requests)
        except RefusedModelError as error:
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))) for _ in requests]
        responses, start = [], 0
        for request, count in zip(requests, counts, strict=True):
            wanted = request.requested_output_names()
            tensors = [pb_utils.Tensor(name, outputs[name][start : start + count]) for name in wanted]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start += count
        return responses

    def _run(self, requests: list[Any]) -> tuple[dict[str, Any], list[int]]:
        inputs: dict[str, Any] = {}
        counts: list[int] = []
        for tensor in self.plan.inputs:
            parts = [pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy() for request in requests]
            counts = [len(part) for part in parts]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if whole.dtype != NUMPY_TYPES[tensor.dtype]:
                raise RefusedModelError(f"inference input '{tensor.name}' has datatype {whole.dtype}, the engine takes {tensor.dtype}")
            check_request(self.config, self.plan, tensor.name, whole.shape)
            inputs[tensor.name] = whole
        return self.engine.run(inputs), counts
