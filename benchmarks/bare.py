"""The yardstick: the published graph in ONNX Runtime, in this process, with a thread for each core and no server."""

import time

import numpy as np
import onnxruntime

from benchmarks.load import Load
from benchmarks.machine import cores
from benchmarks.published import Published


def bare(published: Published, batch: int, seconds: float) -> Load:
    """Run batches of ``batch`` golden inputs one after the other for ``seconds``; each run counts once.

    Raises:
        AccuracyError: the scores are wrong.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(str(published.version / "model.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = published.golden.inputs
    rows = np.arange(batch) % len(inputs)
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(inputs[rows])}
    for _ in range(3):
        (scores,) = session.run(None, feed)
    for row, found in zip(rows, scores, strict=True):
        published.question(row).check(found.tobytes())
    times: list[float] = []
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        before = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - before)
    return Load(np.sort(times), time.monotonic() - start, 0.0)
