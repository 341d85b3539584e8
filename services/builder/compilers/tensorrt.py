"""TensorRT: ``trtexec`` compiles and times, Polygraphy reads the engine and runs the golden set through it, each in its own process.

Only options that TensorRT 10 and 11 both know are used; precision is in the graph, because 11 has no options for it.
Options, output and files: samples/common/sampleOptions.cpp and sampleReporting.cpp of NVIDIA/TensorRT (v10.16, v11.1).
"""

import functools
import json
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from services.builder import process
from services.builder.compilers.base import Array, Engine, Inspection, Profile, Serving
from services.builder.compilers.layer_info import precisions
from services.builder.compilers.nvidia import demand_servers_version, find_trtexec, gpus, like_first, tensorrt_version
from services.builder.compilers.speed import ROUNDS, speed
from services.core.card import Tensor
from services.core.errors import ToolError
from services.core.files import writing
from services.core.record import Compiler as CompilerRecord
from services.core.record import Hardware
from services.core.settings import BuilderSettings
from services.numerics.dtypes import triton_name

log = logging.getLogger(__name__)

_CHILD = "services.builder.compilers.polygraphy_child"
# CUDA's own order puts the fastest GPU first, nvidia-smi and Triton's configuration here count along the bus.
_DEVICE_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
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
        return CompilerRecord(name="tensorrt", version=tensorrt_version()), self._gpus[0]

    @functools.cached_property
    def _gpus(self) -> tuple[Hardware, ...]:
        return gpus()

    def like_devices(self) -> tuple[int, ...]:
        """Indices of the GPUs of the first one's kind, in the order of the PCI bus; nothing where all are."""
        return like_first(self._gpus)

    def instances(self) -> int:
        """One: the engine keeps a GPU busy with a batch."""
        return 1

    def demand_server(self) -> None:
        """Refuse to build for a server of another TensorRT version, as far as it is known.

        Raises:
            ContractError: they differ.
        """
        demand_servers_version(self.identity()[0].version, self._settings.server_tensorrt, self._settings.ngc_release)

    def compile(self, graph: Path, folder: Path, profile: Profile) -> Engine:
        """Compile in the work folder and copy the whole plan; log and reproducing command lie beside it.

        Raises:
            ToolError: trtexec failed, also without the timing cache, or built for another version than it reports.
        """
        name, size = _input(graph)
        made_by, hardware = self.identity()
        plan = self._work / f"{graph.stem}.plan"
        cache = self._settings.artifacts_dir / "timing" / f"{made_by.version}-{re.sub(r'[^A-Za-z0-9]+', '_', hardware.device)}.cache"
        cache.parent.mkdir(parents=True, exist_ok=True)
        argv = build_argv(find_trtexec(), graph, plan, cache, name, size, profile, self._settings.workspace_mib, made_by.version)
        log_file = self._work / f"{graph.stem}.build.log"
        self._compile(argv, log_file, cache, f"trtexec compiles {graph.stem} for {hardware.device}")
        _demand_whole(plan, log_file)
        self._demand_version(plan, made_by.version)
        target = folder / self.serving.default_model_filename
        with writing(folder):
            shutil.copyfile(plan, target)
            shutil.copy(log_file, folder / "build.log")
            shutil.copy(log_file.with_suffix(".sh"), folder / "build.sh")
        plan.unlink()
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

    def inspect(self, engine: Engine, inputs: Array) -> Inspection:
        """Tensors and profile as Polygraphy reads them from the plan; precisions and speed of a loaded engine.

        The speed is that of one enqueue; its copies are in TensorRT 10's figure alone.

        Raises:
            ToolError: the engine cannot be loaded.
        """
        described, layers, times = (self._work / name for name in ("engine.json", "layers.json", "times.json"))
        self._polygraphy("describe", engine.path, described, log="inspect.log", what="polygraphy inspects the engine")
        engine_says = json.loads(described.read_text())
        # Only an engine with an execution context shows the types inside.
        argv = profile_argv(find_trtexec(), engine.path, _shape(engine.input_name, len(inputs), inputs.shape[1:]), times, layers)
        self._run(argv, self._work / "profile.log", "trtexec loads and times the engine")
        runs = [entry["latencyMs"] for entry in json.loads(times.read_text())]
        return Inspection(
            inputs=_tensors(engine_says["inputs"]),
            outputs=_tensors(engine_says["outputs"]),
            max_batch=engine_says["max_batch"],
            precisions=precisions(layers.read_text(errors="replace")),
            speed=speed(len(inputs), [part.tolist() for part in np.array_split(runs, ROUNDS) if len(part)]),
        )

    def run(self, engine: Engine, inputs: Array) -> Array:
        """Run through Polygraphy, in batches that the profile allows."""
        given, found = self._work / "inputs.npy", self._work / "outputs.npy"
        np.save(given, inputs)
        arguments = (given, str(engine.max_batch), found)
        self._polygraphy("run", engine.path, *arguments, log="run.log", what="polygraphy runs pictures through the engine")
        scores: Array = np.load(found, allow_pickle=False)
        return scores

    def _polygraphy(self, command: str, plan: Path, *arguments: str | Path, log: str, what: str) -> None:
        argv = [sys.executable, "-m", _CHILD, command, str(plan), *map(str, arguments)]
        self._run(argv, self._work / log, what)

    def _run(self, argv: list[str], log_file: Path, what: str) -> str:
        timeout = self._settings.build_timeout_seconds
        return process.run(argv, log_file=log_file, timeout_seconds=timeout, what=what, environment=_DEVICE_ORDER)

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
    shapes = [f"--{kind}Shapes={_shape(name, batch, size)}" for kind, batch in (("min", 1), ("opt", profile.opt), ("max", profile.max))]
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


def _tensors(found: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor.model_validate(tensor | {"dtype": triton_name(tensor["dtype"])}) for tensor in found)
