"""The one maker of ONNX Runtime sessions, on the CPU, and what runs rows through a graph."""

import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from services.core.errors import SourceError

Array = npt.NDArray[Any]

RUN_BATCH = 32
"""Rows to run at a time where nobody says more or fewer: memory stays small."""
RUN_SECONDS = 300.0
"""For a batch of a graph that somebody else made: of the largest classifiers, a row takes some seconds on two slow processors."""
_FATAL = 4  # errors come as exceptions, and need not be printed too


class Optimise(IntEnum):
    """How far ONNX Runtime rewrites a graph before it runs it."""

    NONE = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL.value
    """Not at all."""
    BASIC = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC.value
    """Constants folded and nodes joined, in standard operators alone."""
    EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED.value
    """Fused nodes of ONNX Runtime's own that run on any processor."""
    ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL.value
    """Tensors laid out for the processor of this machine too; the default of ONNX Runtime."""


def session(
    model: Path | bytes | onnx.ModelProto,
    *,
    threads: int = 0,
    optimise: Optimise = Optimise.ALL,
    save_to: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Make a session that runs on the CPU and prints nothing.

    Args:
        model: a file, the bytes of one, or a model in memory of less than 2 GiB; only a file's weights may lie beside it.
        threads: of one run; 0 takes one per core.
        optimise: how far the graph is rewritten.
        save_to: file to write the rewritten graph to.

    Raises:
        Exception: ONNX Runtime's errors have no base of their own; ``reason`` puts one into a line.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(optimise.value)
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    given = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def graph_runner(
    model: Path | bytes | onnx.ModelProto | onnxruntime.InferenceSession, batch: int = RUN_BATCH, *, seconds: float | None = None
) -> Callable[[Array], Array]:
    """A function from inputs ``[N,...]`` to the first output ``[N,...]`` of a graph, at most ``batch`` rows at a time.

    The inputs are of the graph's own type (UINT8 or FP32); N is at least 1.

    Args:
        model: a session, or what ``session`` takes.
        batch: rows at a time.
        seconds: that each batch may take, where a graph may never end; the function raises SourceError after that.
    """
    made = model if isinstance(model, onnxruntime.InferenceSession) else session(model)
    name = made.get_inputs()[0].name

    def run(rows: Array) -> Array:
        if seconds is None:
            scores: Array = made.run(None, {name: rows})[0]
            return scores
        return _in_time(lambda options: made.run(None, {name: rows}, options)[0], seconds)

    return in_batches(run, batch)


def _in_time(run: Callable[[onnxruntime.RunOptions], Array], seconds: float) -> Array:
    """What a run gives; one that is not done in time is told to end, which it does before its next node, also within a Loop."""
    options = onnxruntime.RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.start()
    try:
        return run(options)
    except Exception as error:  # of no base of its own
        if options.terminate:
            hint = "a Loop in the graph may have no end: give it a trip count, or unroll it"
            raise SourceError(f"the graph was not done with a batch after {seconds:g} s", hint=hint) from error
        raise
    finally:
        timer.cancel()


def in_batches(run: Callable[[Array], Array], batch: int) -> Callable[[Array], Array]:
    """The same function for any number of rows, at least 1, of which ``run`` is given ``batch`` at most at a time."""
    return lambda inputs: np.concatenate([run(inputs[start : start + batch]) for start in range(0, len(inputs), batch)])


def reason(error: Exception) -> str:
    """The first line of an error of onnx or ONNX Runtime, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
