"""The TensorRT path without a GPU: real builder, real config, real Triton.

Simulators are trtexec, nvidia-smi, the tensorrt module below Polygraphy, and the server's tensorrt backend: simulator/.
"""

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.local.stack import triton_folder
from tests.local.stack import ROOT, Stack

SIMULATOR = ROOT / "simulator"
VERSIONS = ["10.16.1.11", "11.1.0.106", "11.2.1.2"]


class SimulatedGpu(Stack):
    """A stack whose images would carry the TensorRT version in TRT_VERSION, as NVIDIA's do."""

    def environment(self, **changes: str) -> dict[str, str]:
        environment = super().environment(**changes)
        return environment | {"TRT_VERSION": environment["SIMULATOR_TENSORRT"]}


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's backends and the simulator of the tensorrt backend, in one folder."""
    folder = tmp_path_factory.mktemp("server") / "backends"
    folder.mkdir()
    (folder / "python").symlink_to(triton_folder() / "backends" / "python")
    (folder / "tensorrt").symlink_to(SIMULATOR / "backends" / "tensorrt")
    return folder


@contextlib.contextmanager
def simulated_gpu(export: Stack, folder: Path, backends: Path) -> Iterator[Stack]:
    """The tiny classifier on a simulated GPU machine; INSTANCE_KIND is the one setting that differs from a real one."""
    settings = {key: export.settings[key] for key in ("MODEL", "CROP", "RESIZE")}
    stack = SimulatedGpu(
        folder,
        ACCELERATOR="tensorrt",
        INSTANCE_KIND="KIND_CPU",
        SIMULATOR_TENSORRT=VERSIONS[-1],
        SIMULATOR_SECONDS="0.2",
        BACKEND_DIRECTORY=str(backends),
        **settings,
    )
    shutil.copytree(export.settings["ARTIFACTS_DIR"], folder / "artifacts")
    stack.settings["PATH"] = os.pathsep.join([str(SIMULATOR / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    stack.settings["PYTHONPATH"] += f"{os.pathsep}{SIMULATOR / 'python'}"
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def gpu(tiny_export: Stack, tmp_path: Path, backends: Path) -> Iterator[Stack]:
    """Such a machine, new."""
    with simulated_gpu(tiny_export, tmp_path, backends) as stack:
        yield stack


@pytest.fixture(scope="module")
def served(tiny_export: Stack, tmp_path_factory: pytest.TempPathFactory, backends: Path) -> Iterator[Stack]:
    """Such a machine that serves version 1; tests must leave it serving that."""
    with simulated_gpu(tiny_export, tmp_path_factory.mktemp("served"), backends) as stack:
        stack.run("builder")
        stack.serve()
        yield stack


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_is_built_proven_published_and_served(gpu: Stack, version: str) -> None:
    gpu.settings["SIMULATOR_TENSORRT"] = version
    gpu.run("builder", PRECISION="fp16")
    gpu.serve()
    assert json.loads(gpu.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0
    record = json.loads((gpu.model_folder / "1" / "build.json").read_text())
    assert record["compiler"]["version"] == version
    assert record["precision"] == "fp16"
    assert record["hardware"] == {"device": "NVIDIA L4", "compute_capability": "8.9", "driver": "580.95.05"}
    assert ("--stronglyTyped" in record["compiler"]["argv"]) == version.startswith("10.")
    config = text_format.Parse((gpu.model_folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.platform == "tensorrt_plan"
    assert config.optimization.cuda.graphs
    assert {"model.plan", "build.log", "build.sh"} <= {path.name for path in (gpu.model_folder / "1").iterdir()}
    assert "up to date" in gpu.run("builder", PRECISION="fp16").stderr


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "fp8"])
def test_every_precision_is_proven_from_the_layers(gpu: Stack, precision: str) -> None:
    gpu.run("builder", PRECISION=precision)
    assert json.loads((gpu.model_folder / "1" / "build.json").read_text())["precision"] == precision


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_quantised_engine_that_silently_computes_in_fp32_is_refused(gpu: Stack, precision: str) -> None:
    done = gpu.run("builder", code=5, PRECISION=precision, SIMULATOR_MISBEHAVE="silent-fp32")
    assert f"asked {precision}, engine is fp32" in done.stderr
    assert "fix:" in done.stderr
    assert not list(gpu.model_folder.glob("[0-9]*"))


def test_a_half_engine_whose_listing_says_fp32_is_doubted_and_published(gpu: Stack) -> None:
    """Strong typing makes it half whatever the listing says."""
    done = gpu.run("builder", PRECISION="fp16", SIMULATOR_MISBEHAVE="silent-fp32")
    assert "asked fp16, engine is fp32" in done.stderr
    record = json.loads((gpu.model_folder / "1" / "build.json").read_text())
    assert any("asked fp16, engine is fp32" in note for note in record["notes"])


def test_of_unlike_gpus_the_first_on_the_bus_is_built_for(gpu: Stack) -> None:
    """CUDA alone would take the fastest: an engine of the second GPU under the first one's name."""
    gpu.run("builder", SIMULATOR_GPU="Tesla T4|7.5|580.95.05;NVIDIA L4|8.9|580.95.05;Tesla T4|7.5|580.95.05")
    version = gpu.model_folder / "1"
    assert json.loads((version / "build.json").read_text())["hardware"]["device"] == "Tesla T4"
    assert b'"gpu": "Tesla T4"' in (version / "model.plan").read_bytes()
    assert "Selected Device: Tesla T4" in (version / "build.log").read_text()
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in (version / "build.sh").read_text()


def test_auto_leaves_out_what_the_gpu_has_not_and_takes_the_fastest(gpu: Stack) -> None:
    done = gpu.run("builder", PRECISION="auto", SIMULATOR_GPU="Tesla T4|7.5|580.95.05")
    assert "auto leaves bf16 out" in done.stderr
    assert "auto leaves fp8 out" in done.stderr
    assert len(re.findall(r"auto: \w+ +taken", done.stderr)) == 1


@pytest.mark.parametrize(
    ("misbehaviour", "code", "said"),
    [
        ("crash", 5, "killed by SIGSEGV"),
        ("hang", 5, "did not end within 4 s"),
        ("half-write", 5, "ended with exit code 1"),
        ("out-of-memory", 5, "wrote no plan"),
        ("wrong-version", 5, "the plan is of TensorRT"),
        ("wrong-answers", 6, "disagrees with the original model"),
        ("served-refuse-to-load", 8, "did not load"),
        ("served-wrong-answers", 6, "asked over gRPC, disagrees"),
    ],
)
def test_a_misbehaving_compiler_publishes_nothing_and_the_old_version_is_served(
    served: Stack, misbehaviour: str, code: int, said: str
) -> None:
    timeout = "4" if misbehaviour == "hang" else "3600"
    done = served.run("builder", code=code, PRECISION="fp16", SIMULATOR_MISBEHAVE=misbehaviour, BUILD_TIMEOUT_SECONDS=timeout)
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert served.live_version() == 1
    assert sorted(path.name for path in served.model_folder.glob("[0-9]*")) == ["1"]
    assert not list(served.model_folder.glob(".staging*"))
    assert json.loads(served.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0


def test_an_engine_that_hangs_when_served_is_given_up(served: Stack) -> None:
    done = served.run("builder", code=8, PRECISION="fp16", SIMULATOR_MISBEHAVE="served-hang", LOAD_TIMEOUT_SECONDS="4")
    assert "version 1 is served again" in done.stderr
    assert served.live_version() == 1


def test_a_broken_timing_cache_is_dropped_and_the_build_goes_on(gpu: Stack) -> None:
    gpu.run("builder")
    (cache,) = (gpu.folder / "artifacts" / "timing").iterdir()
    good = cache.read_bytes()
    cache.write_bytes(b"broken")
    assert "timing cache was of another build" in gpu.run("builder", "--force").stderr
    assert not cache.exists()
    gpu.run("builder", "--force")
    assert cache.read_bytes() == good


def test_another_gpu_or_version_rebuilds_and_a_driver_update_does_not(gpu: Stack) -> None:
    gpu.run("builder")
    assert "up to date" in gpu.run("builder", SIMULATOR_GPU="NVIDIA L4|8.9|580.126.09").stderr
    gpu.run("builder", SIMULATOR_GPU="NVIDIA A100-SXM4-80GB|8.0|580.95.05")
    gpu.run("builder", SIMULATOR_TENSORRT="11.1.0.106")
    assert gpu.live_version() == 3


def test_a_server_of_another_tensorrt_is_refused_with_both_versions(gpu: Stack) -> None:
    done = gpu.run("builder", code=4, SIMULATOR_TENSORRT="11.1.0.106", NGC_RELEASE="26.08")
    assert "TensorRT 11.1.0.106" in done.stderr
    assert "11.2.1.2" in done.stderr
    gpu.run("builder", SIMULATOR_TENSORRT="11.1.0.106", NGC_RELEASE="26.08", SERVER_TENSORRT="11.1.0.106")


def test_a_plan_of_another_version_is_not_served_and_the_server_says_so(gpu: Stack) -> None:
    """What an upgrade of the server alone does."""
    gpu.run("builder", SIMULATOR_TENSORRT="11.1.0.106")
    with pytest.raises(AssertionError, match=r"(?s)did not get healthy|the server ended"):
        gpu.serve(wait_seconds=12, SIMULATOR_TENSORRT="11.2.1.2")
    assert "this server has TensorRT 11.2.1.2, version 1 of tiny was built with 11.1.0.106" in gpu.log


def test_no_gpu_is_said_up_front(gpu: Stack) -> None:
    gpu.settings["PATH"] = os.environ["PATH"]
    done = gpu.run("builder", code=5)
    assert "no GPU is visible" in done.stderr


def test_kind_gpu_is_asked_for_by_default_and_never_falls_back(gpu: Stack) -> None:
    gpu.run("builder", INSTANCE_KIND="")
    config = text_format.Parse((gpu.model_folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    with pytest.raises(AssertionError):
        gpu.serve(wait_seconds=8)
    assert "KIND_GPU but no GPUs are available" in gpu.log
