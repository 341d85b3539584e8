"""The product itself: plain ``compose.yaml`` with NVIDIA's images on an NVIDIA GPU.

Skipped where ``scripts/doctor --require gpu`` misses something, with what it says. The same chain on simulators of NVIDIA's
programs, with no GPU: tests/docker/test_simulated_stack.py.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from tritonclient.grpc import model_config_pb2

from services.core.names import image_name
from tests.docker.conftest import ROOT, ComposeStack, MakeStack, json_lines
from tests.docker.served import agreement, live_config, live_version, record, versions

FILES = ["compose.yaml"]
WEIGHTS = "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
ESPRESSO, CATS = 967, {281, 282, 285}

# The first test pulls three images of 10 to 16 GB; `auto` builds up to five engines.
pytestmark = pytest.mark.timeout(2 * 3600)


@pytest.fixture(scope="session", autouse=True)
def gpu() -> dict[str, str]:
    """The GPU as the driver names it; without one, or without a container's way to it, the tier is skipped."""
    doctor = subprocess.run([sys.executable, ROOT / "scripts" / "doctor", "--require", "gpu"], capture_output=True, text=True)
    if doctor.returncode:
        pytest.skip("; ".join(line.strip() for line in doctor.stderr.splitlines()))
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    first = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return dict(zip(("device", "compute_capability", "driver"), map(str.strip, first.split(",")), strict=True))


@pytest.fixture(scope="session")
def model() -> str:
    """The tutorial's ResNet-50; where its weights cannot be downloaded, the model whose weights are a package."""
    try:
        reachable = requests.head(WEIGHTS, timeout=10).ok
    except requests.RequestException:
        reachable = False
    return "resnet50" if reachable else "efficientnet_lite0"


@pytest.fixture(scope="session")
def stack(model: str, make_stack: MakeStack) -> Iterator[ComposeStack]:
    with make_stack("gpu", FILES, MODEL=model) as stack:
        stack.compose("up --build --detach --wait triton")
        yield stack


def test_the_client_classifies_photographs(stack: ComposeStack) -> None:
    output = stack.compose("run --rm -T --no-deps client classify --json /samples/coffee.jpg /samples/chelsea.jpg")
    coffee, cat = (entry["top"][0]["index"] for entry in json_lines(output))
    assert coffee == ESPRESSO
    assert cat in CATS


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_served_engine_agrees_with_the_original_model(stack: ComposeStack, protocol: str) -> None:
    assert agreement(stack, "--protocol", protocol) == 1.0


def test_it_is_a_tensorrt_plan_of_this_gpu_on_this_gpu(stack: ComposeStack, model: str, gpu: dict[str, str]) -> None:
    config = live_config(stack, model)
    assert config.platform == "tensorrt_plan"
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    assert config.optimization.cuda.graphs
    found = record(stack, model, live_version(stack, model))
    assert found["compiler"]["name"] == "tensorrt"
    assert found["hardware"] == gpu
    assert found["speed"]["images_per_second"] > 0


def test_files_are_decoded_on_the_gpu(stack: ComposeStack, model: str) -> None:
    """The client has sent files by now; where DALI could not be used, the server's log would say so."""
    config = live_config(stack, image_name(model))
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    assert "decoded on the CPU" not in stack.compose("logs --no-color triton")


def test_a_second_up_rebuilds_nothing(stack: ComposeStack, model: str) -> None:
    before = stack.inspect("triton", "{{.State.StartedAt}}"), versions(stack, model)
    stack.compose("up --detach --wait triton")
    assert (stack.inspect("triton", "{{.State.StartedAt}}"), versions(stack, model)) == before


def test_a_half_precision_engine_is_hot_loaded_and_rolled_back(stack: ComposeStack, model: str) -> None:
    """That the engine is in FP16, and not silently in FP32, the builder itself demands of its layers."""
    started, old = stack.inspect("triton", "{{.State.StartedAt}}"), live_version(stack, model)
    stack.compose("run --rm -T --no-deps builder", PRECISION="fp16")
    new = live_version(stack, model)
    built = record(stack, model, new)
    assert (new, built["precision"]) == (old + 1, "fp16")
    assert agreement(stack) >= built["accuracy"]["min_top1_agreement"]
    stack.compose("run --rm -T --no-deps builder rollback")
    assert live_version(stack, model) == old
    assert agreement(stack) == 1.0
    assert stack.inspect("triton", "{{.State.StartedAt}}") == started


def test_auto_builds_what_the_gpu_has_and_serves_the_fastest_that_passes(stack: ComposeStack, model: str) -> None:
    output = stack.compose("run --rm -T --no-deps builder", PRECISION="auto")
    assert output.count("taken") == 1
    served = record(stack, model, live_version(stack, model))
    assert agreement(stack) >= served["accuracy"]["min_top1_agreement"]
