"""Python-backend model: runs ``model.onnx`` of its version with ONNX Runtime on the CPU.

The builder copies this file as ``<version>/model.py``. It stands alone: the server's Python has numpy, onnxruntime and
``triton_python_backend_utils``, and nothing of the stack.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils

Array = npt.NDArray[Any]


class TritonPythonModel:
    """One execution instance; the scheduler hands it all requests of a dynamic batch at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph and prove it on the golden set, so that a model that is ready has given a right answer."""
        if int(np.__version__.partition(".")[0]) >= 2:
            # The stub of this Triton release reads the array header of numpy 1: with numpy 2 every tensor is silently wrong.
            raise pb_utils.TritonModelException(f"numpy {np.__version__} gives wrong tensors in this server; install numpy<2")
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._input, self._output = config["input"][0]["name"], config["output"][0]["name"]
        options = onnxruntime.SessionOptions()
        instances = sum(group["count"] for group in config["instance_group"])
        options.intra_op_num_threads = max(1, len(os.sched_getaffinity(0)) // instances)
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._prove(folder)

    def _prove(self, folder: Path) -> None:
        golden = np.load(folder / "golden.npz", allow_pickle=False)
        tolerance = json.loads((folder / "build.json").read_text())["accuracy"]["max_error_tolerance"]
        error = float(np.abs(self._run(golden["inputs"][:1]) - golden["scores"][:1]).max())
        if not error <= tolerance:
            raise pb_utils.TritonModelException(f"the golden answer is off by {error:.3g}, expected at most {tolerance:.3g}")

    def _run(self, batch: Array) -> Array:
        scores: Array = self._session.run([self._output], {self._input: batch})[0]
        return scores

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests as one batch, and give each its own rows."""
        arrays = [pb_utils.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        try:
            scores = self._run(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        except Exception as error:
            refusal = pb_utils.TritonError(f"ONNX Runtime: {error}")
            return [pb_utils.InferenceResponse(error=refusal) for _ in requests]
        ends = np.cumsum([len(array) for array in arrays])
        rows = np.split(scores, ends[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self._output, np.ascontiguousarray(part))]) for part in rows]
