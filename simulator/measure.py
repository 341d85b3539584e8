"""Inference in trtexec: inputs, timed runs, the performance summary and the exported files.

Formats: github.com/NVIDIA/TensorRT samples/common/sampleReporting.cpp. The times are those of ONNX Runtime on this CPU.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator import log
from simulator.engine import NUMPY_TYPES, Array, Engine
from simulator.options import Options


class InferenceError(Exception):
    """Inference cannot be set up."""


@dataclass(frozen=True)
class Trace:
    """One timed query: start, and the four spans, in milliseconds."""

    start: float
    enqueue: float
    h2d: float
    compute: float
    d2h: float

    @property
    def latency(self) -> float:
        """Copies and computation together."""
        return self.h2d + self.compute + self.d2h


def inputs_of(engine: Engine, options: Options) -> dict[str, Array]:
    """The inputs: raw files where given, random values else; at ``--shapes``, or at the profile's optimum.

    Raises:
        InferenceError: an unknown name, or a file of another size.
    """
    files = options.get("--loadInputs") or {}
    shapes = options.get("--shapes") or {}
    known = {tensor.name for tensor in engine.plan.inputs}
    for name, flag in [(name, "--loadInputs") for name in files] + [(name, "--shapes") for name in shapes]:
        if name not in known:
            log.error(
                f'Cannot find input tensor with name "{name}" in the engine bindings! Please make sure the input tensor names are correct.'
            )
            raise InferenceError(f"Invalid tensor names found in {flag} flag.")
    generator = np.random.default_rng(0)
    values = {}
    for tensor in engine.plan.inputs:
        shape = shapes.get(tensor.name) or engine.plan.profiles[0][tensor.name][1]
        kind = np.dtype(NUMPY_TYPES[tensor.dtype])
        if tensor.name in files:
            values[tensor.name] = _from_file(Path(files[tensor.name]), shape, kind)
        else:
            values[tensor.name] = (generator.random(shape) * (255 if kind == np.uint8 else 2)).astype(kind)
    return values


def _from_file(path: Path, shape: list[int], kind: np.dtype[np.generic]) -> Array:
    expected = math.prod(shape) * kind.itemsize
    if not path.is_file():
        raise InferenceError(f"Cannot open file {path}!")
    found = path.stat().st_size
    if found != expected:
        raise InferenceError(
            f"Unexpected file size for input file: {path}. Note: Input binding size is: {expected} bytes "
            f"but the file size is {found} bytes. Double check the size and datatype of the provided data."
        )
    return np.fromfile(path, kind).reshape(shape)


def run(engine: Engine, inputs: dict[str, Array], options: Options, major: int) -> tuple[list[Trace], dict[str, Array]]:
    """Timed runs: at least three, at most ``--iterations`` (10) or SIMULATOR_SECONDS (1) of them; no warm-up is timed."""
    outputs = engine.run(inputs)
    copies = bool(options.get("--includeDataTransfers")) if major >= 11 else not options.get("--noDataTransfers")
    size_in, size_out = (sum(value.nbytes for value in values.values()) / 12e6 if copies else 0.0 for values in (inputs, outputs))
    budget = time.monotonic() + float(os.environ.get("SIMULATOR_SECONDS", "1"))
    traces: list[Trace] = []
    began = time.perf_counter()
    while len(traces) < 3 or (len(traces) < options.get("--iterations", 10) and time.monotonic() < budget):
        start = time.perf_counter()
        engine.run(inputs)
        traces.append(Trace((start - began) * 1000, 0.05, size_in, (time.perf_counter() - start) * 1000, size_out))
    return traces, outputs


def _statistics(values: list[float], percentiles: list[float]) -> str:
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    text = f"min = {ordered[0]:g} ms, max = {ordered[-1]:g} ms, mean = {sum(ordered) / len(ordered):g} ms, median = {median:g} ms"
    for percentile in percentiles:
        excluded = int((1 - percentile / 100) * len(ordered))
        text += f", percentile({percentile:g}%) = {ordered[max(len(ordered) - 1 - excluded, 0)]:g} ms"
    return text


def report(traces: list[Trace], options: Options) -> None:
    """The performance summary."""
    percentiles = options.get("--percentile") or [90, 95, 99]
    wall = sum(trace.latency for trace in traces)
    log.info(f"Warmup completed 1 queries over {options.get('--warmUp', 200.0):g} ms")
    log.info(f"Timing trace has {len(traces)} queries over {wall / 1000:g} s")
    log.info()
    log.info("=== Performance summary ===")
    log.info(f"Throughput: {len(traces) / wall * 1000:g} qps")
    columns: list[tuple[str, Callable[[Trace], float]]] = [
        ("Latency", lambda trace: trace.latency),
        ("Enqueue Time", lambda trace: trace.enqueue),
        ("H2D Latency", lambda trace: trace.h2d),
        ("GPU Compute Time", lambda trace: trace.compute),
        ("D2H Latency", lambda trace: trace.d2h),
    ]
    for title, column in columns:
        log.info(f"{title}: {_statistics([column(trace) for trace in traces], percentiles)}")
    log.info(f"Total Host Walltime: {wall / 1000:g} s")
    log.info(f"Total GPU Compute Time: {sum(trace.compute for trace in traces) / 1000:g} s")
    log.info("Explanations of the performance metrics are printed in the verbose logs.")
    log.info()


def export(traces: list[Trace], outputs: dict[str, Array], options: Options) -> None:
    """``--exportTimes`` and ``--exportOutput``."""
    if options.get("--exportTimes"):
        Path(options.get("--exportTimes")).write_text(json.dumps([_times(trace) for trace in traces], indent=1))
    if options.get("--exportOutput"):
        rows = [
            {"name": name, "dimensions": "x".join(map(str, value.shape)), "values": [float(f"{item:g}") for item in value.ravel().tolist()]}
            for name, value in outputs.items()
        ]
        Path(options.get("--exportOutput")).write_text(json.dumps(rows))


def _times(trace: Trace) -> dict[str, float]:
    compute = trace.start + trace.h2d
    end = compute + trace.compute
    return {
        "startEnqMs": trace.start, "endEnqMs": trace.start + trace.enqueue,
        "startH2dMs": trace.start, "endH2dMs": compute, "startComputeMs": compute, "endComputeMs": end,
        "startD2hMs": end, "endD2hMs": end + trace.d2h,
        "h2dMs": trace.h2d, "computeMs": trace.compute, "d2hMs": trace.d2h, "latencyMs": trace.latency,
    }  # fmt: skip
