"""TensorRT: ``trtexec`` compiles and measures, ``polygraphy`` inspects the engine and runs the golden set through it.

Only options that TensorRT 10 and 11 both know are used; precision is in the graph, because 11 has no options for it.
Options, output and files: samples/common/sampleOptions.cpp and sampleReporting.cpp of NVIDIA/TensorRT (v10.16, v11.1).
"""

import functools
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np

from services.builder import process
from services.builder.compilers.base import Array, Description, Engine, Profile, Serving
from services.builder.compilers.layer_info import precisions
from services.builder.compilers.nvidia import demand_servers_version, find_trtexec, gpu, tensorrt_version
from services.core.card import Tensor
from services.core.errors import ToolError
from services.core.record import Compiler as CompilerRecord
from services.core.record import Hardware, Speed
from services.core.settings import BuilderSettings

log = logging.getLogger(__name__)

_DTYPES = {"uint8": "UINT8", "float32": "FP32"}
_TENSOR = re.compile(r"(\w+) \[dtype=(\w+), shape=\(([^)]*)\)\]")
_MAX_SHAPE = re.compile(r"max=\((\d+)")
_CACHE_REFUSED = "Failed to create ITimingCache"
_PLAN_VERSION = re.compile(r"\b(\d+\.\d+\.\d+\.\d+)\b")


class TensorRtCompiler:
    """Compiles for the GPU that is there; a plan loads on that kind of GPU and with that TensorRT version alone."""

    serving = Serving(platform="tensorrt_plan", default_model_filename="model.plan", cuda_graphs=True)

    def __init__(self, settings: BuilderSettings) -> None:
        self._settings = settings
        self._work = settings.artifacts / "build"

    def identity(self) -> tuple[CompilerRecord, Hardware]:
        """TensorRT's four-part version and the GPU."""
        return self._identity

    @functools.cached_property
    def _identity(self) -> tuple[CompilerRecord, Hardware]:
        return CompilerRecord(name="tensorrt", version=tensorrt_version()), gpu()

    def compile(self, graph: Path, folder: Path, profile: Profile) -> Engine:
        """Compile in the work folder and copy the whole plan; log and reproducing command lie beside it.

        Raises:
            ContractError: the server has another TensorRT version.
            ToolError: trtexec failed, also without the timing cache, or built for another version than it reports.
        """
        name, size = _input(graph)
        made_by, hardware = self.identity()
        demand_servers_version(made_by.version, self._settings.server_tensorrt, self._settings.ngc_release)
        plan = self._work / f"{graph.stem}.plan"
        cache = self._settings.artifacts_dir / "timing" / f"{made_by.version}-{re.sub(r'[^A-Za-z0-9]+', '_', hardware.device)}.cache"
        cache.parent.mkdir(parents=True, exist_ok=True)
        argv = build_argv(find_trtexec(), graph, plan, cache, name, size, profile, self._settings.workspace_mib, made_by.version)
        log_file = self._work / f"{graph.stem}.build.log"
        self._compile(argv, log_file, cache, f"trtexec compiles {graph.stem} for {hardware.device}")
        _demand_whole(plan, log_file)
        self._demand_version(plan, made_by.version)
        target = folder / self.serving.default_model_filename
        shutil.copyfile(plan, target)
        plan.unlink()
        shutil.copy(log_file, folder / "build.log")
        shutil.copy(log_file.with_suffix(".sh"), folder / "build.sh")
        record = CompilerRecord(name=made_by.name, version=made_by.version, argv=tuple(argv))
        return Engine(target, record, name, profile.max)

    def _compile(self, argv: list[str], log_file: Path, cache: Path, what: str) -> None:
        """A timing cache of another build, or one broken by a kill, is dropped: it must not fail a good graph, nor stay unused."""
        existed = cache.exists()
        try:
            output = self._run(argv, log_file, what)
        except ToolError:
            if not existed:
                raise
            cache.unlink(missing_ok=True)
            self._run(argv, log_file, f"{what}, once more without the old timing cache")
        else:
            if _CACHE_REFUSED in output:  # trtexec goes on without it, and leaves it as it is
                log.warning("the timing cache was of another build and is dropped; the next build makes a new one")
                cache.unlink(missing_ok=True)

    def describe(self, engine: Engine) -> Description:
        """Tensors and profile as polygraphy reads them from the plan; precisions from the layers of a loaded engine.

        Raises:
            ToolError: the engine cannot be loaded, or says something unexpected.
        """
        log_file = self._work / "inspect.log"
        argv = ["polygraphy", "inspect", "model", str(engine.path), "--model-type", "engine"]
        text = self._run(argv, log_file, "polygraphy inspects the engine")
        inputs, outputs = (_tensors(text, side, log_file) for side in ("Input", "Output"))
        largest = [int(size) for size in _MAX_SHAPE.findall(text)]
        if not largest:
            raise ToolError(f"polygraphy shows no optimisation profile of {engine.path}", hint=f"the full output is {log_file}")
        self._profile(engine, inputs[0])
        layers = json.loads(self._layers.read_text())
        return Description(inputs=inputs, outputs=outputs, max_batch=min(largest), precisions=precisions(layers))

    def run(self, engine: Engine, inputs: Array) -> Array:
        """Run through polygraphy, in batches that the profile allows."""
        from polygraphy.comparator import RunResults
        from polygraphy.json import save_json

        given, found = self._work / "inputs.json", self._work / "outputs.json"
        save_json([{engine.input_name: inputs[i : i + engine.max_batch]} for i in range(0, len(inputs), engine.max_batch)], str(given))
        argv = ["polygraphy", "run", str(engine.path), "--trt", "--model-type", "engine"]
        argv += ["--load-inputs", str(given), "--save-outputs", str(found)]
        self._run(argv, self._work / "run.log", "polygraphy runs the golden set through the engine")
        iterations = RunResults.load(str(found))[0][1]
        return np.concatenate([next(iter(iteration.values())) for iteration in iterations])

    def measure(self, engine: Engine, inputs: Array, batch: int) -> Speed:  # noqa: ARG002
        """Latency of one enqueue at the tuned batch, from the run that ``describe`` made; copies are measured by TensorRT 10 alone."""
        times = [entry["latencyMs"] for entry in json.loads(self._times.read_text())]
        median, p99 = (float(np.percentile(times, percentile)) for percentile in (50, 99))
        return Speed(batch=batch, images_per_second=batch * 1000 / median, median_ms=median, p99_ms=p99)

    @property
    def _layers(self) -> Path:
        return self._work / "layers.json"

    @property
    def _times(self) -> Path:
        return self._work / "times.json"

    def _profile(self, engine: Engine, tensor: Tensor) -> None:
        """Load the plan and time it: only an engine with an execution context shows the types inside."""
        shape = _shape(tensor.name, self._settings.opt_batch, tensor.shape[1:])
        argv = profile_argv(find_trtexec(), engine.path, shape, self._times, self._layers)
        self._run(argv, self._work / "profile.log", "trtexec loads and times the engine")

    def _run(self, argv: list[str], log_file: Path, what: str) -> str:
        return process.run(argv, log_file=log_file, timeout_seconds=self._settings.build_timeout_seconds, what=what)

    def _demand_version(self, plan: Path, expected: str) -> None:
        """The plan's own version must be the one this process reports: a plan loads with that version alone."""
        text = self._run(plan_version_argv(find_trtexec(), plan), self._work / "version.log", "trtexec reads the plan's version")
        found = _PLAN_VERSION.findall("\n".join(line for line in text.splitlines() if not line.startswith("$")))
        if expected not in found:
            raise ToolError(
                f"the plan is of TensorRT {', '.join(found) or 'an unknown version'}, this image has {expected}",
                hint="rebuild the builder image, so that trtexec and the library are of one version",
            )


def build_argv(
    trtexec: str, graph: Path, plan: Path, cache: Path, name: str, size: tuple[int, ...], profile: Profile, workspace_mib: int, version: str
) -> list[str]:
    """The command that compiles; ``size`` is the input's shape without the batch."""
    shapes = [
        f"--{kind}Shapes={_shape(name, batch, size)}" for kind, batch in (("min", profile.min), ("opt", profile.opt), ("max", profile.max))
    ]
    return [
        trtexec,
        f"--onnx={graph}",
        f"--saveEngine={plan}",
        *shapes,
        f"--memPoolSize=workspace:{workspace_mib}",
        f"--timingCacheFile={cache}",
        "--profilingVerbosity=detailed",
        "--skipInference",
        # 11 is always strongly typed, and warns of the option; 10 would choose precisions of its own.
        *(["--stronglyTyped"] if int(version.partition(".")[0]) < 11 else []),
    ]


def profile_argv(trtexec: str, plan: Path, shape: str, times: Path, layers: Path) -> list[str]:
    """The command that loads a plan, times it, and writes what its layers are."""
    return [
        trtexec,
        f"--loadEngine={plan}",
        f"--shapes={shape}",
        "--profilingVerbosity=detailed",
        f"--exportTimes={times}",
        f"--exportLayerInfo={layers}",
        "--warmUp=500",
        "--duration=2",
    ]


def plan_version_argv(trtexec: str, plan: Path) -> list[str]:
    """The command that prints which TensorRT version made a plan."""
    return [trtexec, "--getPlanVersionOnly", f"--loadEngine={plan}"]


def _shape(name: str, batch: int, size: tuple[int, ...]) -> str:
    return f"{name}:{'x'.join(map(str, (batch, *size)))}"


def _input(graph: Path) -> tuple[str, tuple[int, ...]]:
    import onnx

    value = onnx.load(graph, load_external_data=False).graph.input[0]
    return value.name, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])


def _demand_whole(plan: Path, log_file: Path) -> None:
    if not plan.is_file() or not plan.stat().st_size:
        raise ToolError(f"trtexec ended well but wrote no plan at {plan}", hint=f"the full log is {log_file}")


def _tensors(text: str, side: str, log_file: Path) -> tuple[Tensor, ...]:
    """The engine's tensors in ``polygraphy inspect model``: a heading per side, then ``{name [dtype=…, shape=(…)]}``."""
    section = re.search(rf"---- \d+ Engine {side}\(s\) ----\n(.*?)\n\s*\n", text, re.DOTALL)
    found = _TENSOR.findall(section.group(1)) if section else []
    if not found:
        raise ToolError(f"polygraphy shows no engine {side.lower()}", hint=f"the full output is {log_file}")
    return tuple(
        Tensor.model_validate(
            {"name": name, "dtype": _DTYPES.get(dtype, dtype), "shape": [int(part) for part in shape.split(",") if part.strip()]}
        )
        for name, dtype, shape in found
    )
