"""ONNX Runtime on the CPU, with the graph optimised ahead of time, or on an NVIDIA GPU; a Python-backend model runs the result."""

import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime

from services.builder.compilers.base import Array, Engine, Inspection, Profile, Serving
from services.builder.compilers.nvidia import gpus, like_first
from services.builder.compilers.speed import ROUNDS, speed
from services.core import cpus
from services.core.card import Tensor
from services.core.errors import ToolError
from services.core.files import writing
from services.core.record import Compiler as CompilerRecord
from services.core.record import Hardware
from services.core.stage import progress
from services.numerics.dtypes import triton_name
from services.onnx_graphs.cuda_runner import CudaRunner
from services.onnx_graphs.session import Optimise, graph_runner, in_batches, reason, session

_SERVICES = Path(__file__).resolve().parents[2]
_MODEL_NAME = "model.py"
_CODE = (
    (_MODEL_NAME, _SERVICES / "triton" / "models" / "classifier.py"),
    ("agreement.py", _SERVICES / "numerics" / "agreement.py"),
    ("cpus.py", _SERVICES / "core" / "cpus.py"),
    ("regions.py", _SERVICES / "triton" / "models" / "regions.py"),
)
_CUDA = ("cuda_runner.py", _SERVICES / "onnx_graphs" / "cuda_runner.py")
GPU_INSTANCES = 2
"""Where no setting says otherwise."""
_ROUND_MS = 300
_LEAST_RUNS = 3


class OnnxRuntimeCompiler:
    """Optimises for the CPU; any batch fits, so the profile only bounds what the server takes."""

    serving = Serving(backend="python", default_model_filename=_MODEL_NAME, code=_CODE)

    def identity(self) -> tuple[CompilerRecord, Hardware]:
        """ONNX Runtime's version and the processor."""
        return CompilerRecord(name="onnxruntime", version=onnxruntime.__version__), Hardware(device=_processor())

    def like_devices(self) -> tuple[int, ...]:
        """There is no GPU."""
        return ()

    def instances(self) -> int:
        """By the policy, for the processors of this machine: builder and server are taken to run on the same one."""
        return cpus.instances(cpus.find())

    def demand_server(self) -> None:
        """A graph of standard operators: any server takes it."""

    def compile(self, graph: Path, folder: Path, profile: Profile) -> Engine:
        """Write the optimised graph.

        The level is EXTENDED: fused nodes that run on any processor. The next one lays tensors out for the building machine.
        """
        path = folder / "model.onnx"
        with progress("ONNX Runtime optimises the graph"):
            try:
                made = session(graph, optimise=Optimise.EXTENDED, save_to=path)
            except Exception as error:
                raise ToolError(f"ONNX Runtime cannot compile {graph}: {reason(error)}", hint="try PRECISION=fp32") from error
        return Engine(path, self.identity()[0], made.get_inputs()[0].name, profile.max)

    def inspect(self, engine: Engine, inputs: Array) -> Inspection:
        """Names, types and shapes as the optimised graph has them, and its speed: one round to warm up, then those that count."""
        run, loaded, notes = self._loaded(engine)

        def times() -> list[float]:
            spans: list[float] = []
            while sum(spans) < _ROUND_MS or len(spans) < _LEAST_RUNS:
                start = time.perf_counter()
                run(inputs)
                spans.append((time.perf_counter() - start) * 1000)
            return spans

        times()
        return Inspection(
            inputs=tuple(_tensor(value) for value in loaded.get_inputs()),
            outputs=tuple(_tensor(value) for value in loaded.get_outputs()),
            max_batch=engine.max_batch,
            precisions=None,
            speed=speed(len(inputs), [times() for _ in range(ROUNDS)]),
            notes=notes,
        )

    def run(self, engine: Engine, inputs: Array) -> Array:
        """Run in one process; rows go through in batches that the profile allows."""
        return self._loaded(engine)[0](inputs)

    def _loaded(self, engine: Engine) -> tuple[Callable[[Array], Array], onnxruntime.InferenceSession, tuple[str, ...]]:
        """What runs any number of rows, its session, and what there is to say of it."""
        loaded = session(engine.path)
        return graph_runner(loaded, engine.max_batch), loaded, ()


class OnnxRuntimeGpuCompiler(OnnxRuntimeCompiler):
    """Proves that a graph runs on the GPU; the server optimises it as it loads it, for the GPU that it finds."""

    serving = Serving(backend="python", default_model_filename=_MODEL_NAME, code=(*_CODE, _CUDA))

    def __init__(self) -> None:
        self._devices = gpus()
        self._runner: tuple[Path, CudaRunner] | None = None  # the last: it takes seconds to load

    def identity(self) -> tuple[CompilerRecord, Hardware]:
        """ONNX Runtime's version and the first GPU."""
        return CompilerRecord(name="onnxruntime-gpu", version=onnxruntime.__version__), self._devices[0]

    def like_devices(self) -> tuple[int, ...]:
        """By name, compute capability and driver."""
        return like_first(self._devices)

    def instances(self) -> int:
        """Two: one copies while the other computes (docs/benchmarks.md)."""
        return GPU_INSTANCES

    def compile(self, graph: Path, folder: Path, profile: Profile) -> Engine:
        """Take the graph as it is: what ONNX Runtime would write for the GPU holds operators that only this very version reads."""
        path = folder / "model.onnx"
        with writing(folder):
            shutil.copyfile(graph, path)
        return Engine(path, self.identity()[0], onnx.load(path, load_external_data=False).graph.input[0].name, profile.max)

    def _loaded(self, engine: Engine) -> tuple[Callable[[Array], Array], onnxruntime.InferenceSession, tuple[str, ...]]:
        if self._runner is None or self._runner[0] != engine.path:
            self._runner = None  # its memory goes before the next one takes some
            with progress("ONNX Runtime loads the graph into the GPU"):
                try:
                    self._runner = engine.path, CudaRunner(engine.path, max_batch=engine.max_batch)
                except Exception as error:
                    what = f"ONNX Runtime cannot run {engine.path} on the GPU: {reason(error)}"
                    raise ToolError(what, hint="try PRECISION=fp32, or INSTANCE_KIND=KIND_CPU, which leaves the GPU alone") from error
        runner = self._runner[1]
        notes = () if runner.captured else (f"it runs without CUDA graphs: {runner.problem}",)
        return in_batches(runner, engine.max_batch), runner.session, notes


def _tensor(value: onnxruntime.NodeArg) -> Tensor:
    shape = tuple(-1 if not isinstance(size, int) else size for size in value.shape)
    return Tensor.model_validate({"name": value.name, "dtype": triton_name(value.type), "shape": shape})


def _processor() -> str:
    """The processor's name: what is fast differs by its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
