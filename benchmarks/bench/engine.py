"""The engine alone, without a server: ONNX Runtime in this process, on CPU or GPU, or ``trtexec`` where it is."""

import json
import math
from pathlib import Path

import numpy as np

from benchmarks.bare import ON_CPU, ON_GPU, Run, bare, demand_gpu, engine
from benchmarks.load import Load
from benchmarks.published import Published
from services.builder import process
from services.builder.compilers.nvidia import find_trtexec
from services.core.errors import ToolError
from services.core.record import BuildRecord

ONNXRUNTIME, TRTEXEC = "ONNX Runtime", "trtexec"
_SLACK_SECONDS = 120
"""That trtexec may take to load an engine and warm up."""


class Engine:
    """The engine of a published version, and what can run it here: ``source`` is "" where nothing can, and ``note`` says why."""

    def __init__(self, published: Published, record: BuildRecord, scratch: Path) -> None:
        self._published, self._scratch = published, scratch
        self._file = published.version / record.engine_file
        self.source, self.note, self._trtexec = ONNXRUNTIME, "", ""
        self._gpu = record.compiler.name == ON_GPU
        self._run: Run | None = None
        try:
            if self._gpu:
                demand_gpu()
            elif record.compiler.name != ON_CPU:
                self.source, self._trtexec = TRTEXEC, find_trtexec()
        except ToolError as error:
            self.source, self.note = "", f"the engine alone was timed by the builder only: {error}"

    def measure(self, batch: int, seconds: float) -> Load:
        """Batches one after the other for so many seconds; each counts once.

        Raises:
            AccuracyError: ONNX Runtime's scores are wrong. trtexec does not give any.
            ToolError: trtexec fails, for instance because the engine is of another TensorRT version.
        """
        if self.source == TRTEXEC:
            return self._by_trtexec(batch, seconds)
        # On a GPU it is kept, with its graphs; on a CPU its threads would be in the server's way.
        self._run = self._run or (engine(self._published) if self._gpu else None)
        return bare(self._published, batch, seconds, self._run)

    def _by_trtexec(self, batch: int, seconds: float) -> Load:
        name, *size = self._published.config.input[0].name, *self._published.golden.inputs.shape[1:]
        times = self._scratch / "times.json"
        argv = [
            self._trtexec,
            f"--loadEngine={self._file}",
            f"--shapes={name}:{'x'.join(map(str, (batch, *size)))}",
            f"--exportTimes={times}",
            "--warmUp=200",
            f"--duration={math.ceil(seconds)}",
        ]
        # As the builder runs it: the GPUs in the order of nvidia-smi.
        environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        limit = seconds + _SLACK_SECONDS
        process.run(argv, log_file=self._scratch / "trtexec.log", timeout_seconds=limit, what=TRTEXEC, environment=environment)
        seen = np.sort([entry["latencyMs"] / 1e3 for entry in json.loads(times.read_text())])
        return Load(seen, float(seen.sum()), 0.0)
