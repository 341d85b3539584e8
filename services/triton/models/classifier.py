"""Python-backend model: runs ``model.onnx`` of its version with ONNX Runtime, on the CPU or on a GPU, as its instance group says.

The builder publishes this file as ``<version>/model.py``, and beside it ``services/numerics/agreement.py``, ``services/core/cpus.py``,
``services/triton/models/regions.py``, and for a GPU ``services/onnx_graphs/cuda_runner.py``.
The server's Python has numpy, onnxruntime and ``triton_python_backend_utils``, and nothing of the stack.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpus  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt
import onnxruntime
import regions  # type: ignore[import-not-found]
import triton_python_backend_utils as pb_utils
from agreement import Limits, measure  # type: ignore[import-not-found]

Array = npt.NDArray[Any]


class TritonPythonModel:
    """One execution instance; the scheduler hands it all requests of a dynamic batch at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph and prove it on the golden set, so that a model that is ready has given right answers."""
        if int(np.__version__.partition(".")[0]) >= 2:
            # The stub of this Triton release reads the array header of numpy 1: with numpy 2 every tensor is silently wrong.
            raise pb_utils.TritonModelException(f"numpy {np.__version__} gives wrong tensors in this server; install numpy<2")
        regions.make_private()
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._input, self._output = config["input"][0]["name"], config["output"][0]["name"]
        self._shape = tuple(int(size) for size in config["input"][0]["dims"])
        self._run = self._on_gpu(args, config, folder) if args["model_instance_kind"] == "GPU" else self._on_cpu(config, folder)
        self._prove(folder, int(config["max_batch_size"]))

    def _on_cpu(self, config: dict[str, Any], folder: Path) -> Callable[..., Array]:
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), _options(config), providers=["CPUExecutionProvider"])

        def run(*parts: Array) -> Array:
            batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
            scores: Array = session.run([self._output], {self._input: batch})[0]
            return scores

        return run

    def _on_gpu(self, args: dict[str, str], config: dict[str, Any], folder: Path) -> Callable[..., Array]:
        from cuda_runner import CudaRunner  # type: ignore[import-not-found]

        device = int(args["model_instance_device_id"])
        runner: Callable[..., Array] = CudaRunner(folder / "model.onnx", max_batch=int(config["max_batch_size"]), device=device)
        return runner

    def _prove(self, folder: Path, batch: int) -> None:
        with np.load(folder / "golden.npz", allow_pickle=False) as golden:
            inputs, expected = golden["inputs"], golden["scores"]
        limits = Limits.of(json.loads((folder / "build.json").read_text())["accuracy"])
        found = np.concatenate([self._run(inputs[start : start + batch]) for start in range(0, len(inputs), batch)])
        if problems := measure(found, expected, limits).problems:
            raise pb_utils.TritonModelException(f"the answers are not the original model's: {'; '.join(problems)}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests of a usable shape as one batch, and give each its own rows or its own error.

        An error object must not be shared: the server frees it once per response, and dies.
        """
        arrays = [pb_utils.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        usable = [index for index, array in enumerate(arrays) if len(array) and array.shape[1:] == self._shape]
        responses = [self._refusal(array) for array in arrays]
        if not usable:
            return responses
        try:
            scores = self._run(*(arrays[index] for index in usable))
        except Exception as error:
            for index in usable:
                responses[index] = _error(f"ONNX Runtime: {error}")
            return responses
        ends = np.cumsum([len(arrays[index]) for index in usable])
        for index, rows in zip(usable, np.split(scores, ends[:-1]), strict=True):
            responses[index] = pb_utils.InferenceResponse([pb_utils.Tensor(self._output, np.ascontiguousarray(rows))])
        return responses

    def _refusal(self, array: Array) -> Any:
        wanted = f"[N, {', '.join(map(str, self._shape))}] with N of at least 1"
        return _error(f"{self._input} has the shape {list(array.shape)}, expected {wanted}")


def _options(config: dict[str, Any]) -> onnxruntime.SessionOptions:
    """As the policy or the builder's CPU_THREADS has it, and the server's log tells it."""
    instances = sum(group["count"] for group in config["instance_group"])
    found = cpus.find()
    threads = cpus.threads(found, instances, int(config["parameters"].get("cpu_threads", {}).get("string_value", 0)))
    pb_utils.Logger.log_info(f"{config['name']}: {found}, instances: {instances}, each with {threads}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads.number
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads.spin_us > 0)))
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(threads.spin_us))
    return options


def _error(message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
