"""The yardstick: the published graph in ONNX Runtime, in this process and with no server; on a CPU with a thread for each core."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks import machine
from benchmarks.load import Load, repeat
from benchmarks.published import Published
from services.core.errors import ToolError
from services.onnx_graphs.cuda_runner import PROVIDER, CudaRunner
from services.onnx_graphs.session import graph_runner

ON_CPU, ON_GPU = "onnxruntime", "onnxruntime-gpu"
"""``compiler.name`` in the build record of an engine that ONNX Runtime runs."""

Run = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""From inputs ``[N, ...]`` to FP32 scores ``[N, classes]``, both in the memory of the host."""


def demand_gpu() -> None:
    """See that an engine for a GPU can run here.

    Raises:
        ToolError: there is no GPU, or the ONNX Runtime that is installed has no CUDA.
    """
    if PROVIDER not in onnxruntime.get_available_providers():
        raise ToolError("this ONNX Runtime has no CUDA", hint="install onnxruntime-gpu")
    if not machine.gpus():
        raise ToolError("there is no NVIDIA GPU", hint="see nvidia-smi")


def engine(published: Published) -> Run:
    """The engine of the live version, on the hardware that it was published for.

    Raises:
        ToolError: that is a GPU, and cannot be used here.
    """
    record = published.record
    file = published.version / record.engine_file
    if record.compiler.name == ON_GPU:
        demand_gpu()
        return CudaRunner(file, max_batch=record.max_batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.cores()
    return graph_runner(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]), record.max_batch)


def bare(published: Published, batch: int, seconds: float, run: Run | None = None) -> Load:
    """Run batches of ``batch`` golden inputs one after the other for ``seconds``; each run counts once.

    Args:
        published: the model.
        batch: rows of each run.
        seconds: how long.
        run: what ``engine`` made, where it is kept; else one is made for this.

    Raises:
        AccuracyError: the scores are wrong.
        ToolError: the engine is for a GPU, which cannot be used here.
    """
    run = run or engine(published)
    inputs = published.golden.inputs
    rows = np.arange(batch) % len(inputs)
    pixels = np.ascontiguousarray(inputs[rows])
    for _ in range(3):
        scores = run(pixels)
    for row, found in zip(rows, scores, strict=True):
        published.question(row).check(found.tobytes())
    return repeat(lambda: run(pixels), seconds)
