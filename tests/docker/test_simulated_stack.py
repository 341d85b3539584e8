"""``compose.yaml`` as it is on a GPU host, on stand-ins of NVIDIA's three images: real exporter, builder, config, Triton.

The simulators (simulator) are trtexec, nvidia-smi, the engine below polygraphy and the server's tensorrt backend.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from tests.docker.conftest import ROOT, ComposeStack, MakeStack, json_lines
from tests.docker.served import agreement, live_config, live_version, of_a_file, record, versions

SIMULATOR = ROOT / "simulator"
FILES = ["compose.yaml", "simulator/compose.simulator.yaml"]
NAME, ESPRESSO = "efficientnet_lite0", 967
RELEASE = "11.2.1.2"  # of the NGC_RELEASE in .env
VERSIONS = [RELEASE, "11.1.0.106", "10.16.1.11"]
IMAGES = {"PYTORCH_IMAGE": "pytorch", "TENSORRT_IMAGE": "tensorrt", "TRITON_IMAGE": "tritonserver"}


@contextlib.contextmanager
def simulator_images(version: str) -> Iterator[dict[str, str]]:
    """The stand-ins for NVIDIA's images of one TensorRT version, as the settings that name them; removed afterwards."""
    settings = {setting: f"t2t-simulator-{target}:{version}-{os.getpid()}" for setting, target in IMAGES.items()}
    secret = f"id=ca,src={os.environ.get('PIP_CERT') or os.devnull}"
    try:
        for setting, target in IMAGES.items():
            command = ["docker", "build", "--quiet", "--secret", secret, "--target", target, "--tag", settings[setting]]
            done = subprocess.run(
                [*command, "--build-arg", f"SIMULATOR_TENSORRT={version}", str(SIMULATOR)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
        yield settings
    finally:
        subprocess.run(["docker", "image", "rm", "--force", *settings.values()], capture_output=True, check=True)


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """TensorRT's, of a whole stack: the tests of one version follow one another."""
    return str(request.param)


on_the_release = pytest.mark.parametrize("version", [RELEASE], indirect=True)


@pytest.fixture(scope="session")
def gpu_stack(version: str, make_stack: MakeStack) -> Iterator[ComposeStack]:
    """The NVIDIA stack, up; for images of another release than NGC_RELEASE one says which TensorRT they have."""
    settings = {"MODEL": NAME, "SIMULATOR_SECONDS": "0.2", "SERVER_TENSORRT": "" if version == RELEASE else version}
    with simulator_images(version) as images, make_stack(f"simulated-{version.replace('.', '-')}", FILES, **settings, **images) as stack:
        stack.compose("up --build --detach --wait triton")
        yield stack


def test_the_coffee_is_an_espresso(gpu_stack: ComposeStack) -> None:
    assert gpu_stack.inspect("triton", "{{.State.Health.Status}}") == "healthy"
    output = gpu_stack.compose("run --rm -T --no-deps client classify --json /samples/coffee.jpg")
    assert json_lines(output)[0]["top"][0]["index"] == ESPRESSO
    assert agreement(gpu_stack) == 1.0
    assert of_a_file(gpu_stack, NAME, ROOT / "samples" / "coffee.jpg") == (ESPRESSO, live_version(gpu_stack, NAME))


def test_the_plan_is_of_the_images_tensorrt(gpu_stack: ComposeStack, version: str) -> None:
    built = record(gpu_stack, NAME, 1)
    assert (built["compiler"]["name"], built["compiler"]["version"]) == ("tensorrt", version)
    assert built["hardware"] == {"device": "NVIDIA L4", "compute_capability": "8.9", "driver": "580.95.05"}
    assert built["engine_file"] == "model.plan"
    assert ("--stronglyTyped" in built["compiler"]["argv"]) == version.startswith("10.")


def test_triton_is_told_that_it_is_a_tensorrt_plan(gpu_stack: ComposeStack) -> None:
    config = live_config(gpu_stack, NAME)
    assert config.platform == "tensorrt_plan"
    assert config.backend in ("", "tensorrt")
    assert config.default_model_filename == "model.plan"
    assert config.optimization.cuda.graphs


def test_a_second_up_rebuilds_nothing(gpu_stack: ComposeStack) -> None:
    started = gpu_stack.inspect("triton", "{{.State.StartedAt}}")
    before = gpu_stack.compose("logs --no-color exporter builder")
    gpu_stack.compose("up --detach --wait triton")
    logs = gpu_stack.compose("logs --no-color exporter builder")
    assert logs.count("exported") == logs.count("published") == 1  # by the first up; Compose shows the logs of all
    assert logs.count("up to date") - before.count("up to date") == 2
    assert gpu_stack.inspect("triton", "{{.State.StartedAt}}") == started
    assert versions(gpu_stack, NAME) == ["1"]


@on_the_release
@pytest.mark.parametrize(
    ("misbehaviour", "precision", "code", "said"),
    [("silent-fp32", "int8", 5, "asked int8, engine is fp32"), ("served-wrong-answers", "fp16", 6, "asked over gRPC, disagrees")],
)
def test_a_bad_engine_is_refused_and_the_old_version_served(
    gpu_stack: ComposeStack, misbehaviour: str, precision: str, code: int, said: str
) -> None:
    output = gpu_stack.compose("run --rm -T --no-deps builder", code=code, PRECISION=precision, SIMULATOR_MISBEHAVE=misbehaviour)
    assert said in output
    assert "fix:" in output
    assert versions(gpu_stack, NAME) == ["1"]
    assert live_version(gpu_stack, NAME) == 1
    assert gpu_stack.inspect("triton", "{{.State.Health.Status}}") == "healthy"
    assert agreement(gpu_stack) == 1.0


@on_the_release
def test_without_the_overlays_kind_the_server_refuses_to_run_on_the_cpu(gpu_stack: ComposeStack) -> None:
    """The builder asks for KIND_GPU by itself, and nothing falls back to the CPU in silence."""
    assert [group.kind for group in live_config(gpu_stack, NAME).instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    output = gpu_stack.compose("run --rm -T --no-deps -e INSTANCE_KIND= builder", code=8)
    assert "KIND_GPU but no GPUs are available" in output
    assert versions(gpu_stack, NAME) == ["1"]
    assert agreement(gpu_stack) == 1.0


@on_the_release
def test_a_half_precision_engine_is_hot_loaded_and_rolled_back(gpu_stack: ComposeStack) -> None:
    started = gpu_stack.inspect("triton", "{{.State.StartedAt}}")
    gpu_stack.compose("run --rm -T --no-deps builder", PRECISION="fp16")
    assert live_version(gpu_stack, NAME) == 2
    assert agreement(gpu_stack) == 1.0
    gpu_stack.compose("run --rm -T --no-deps builder rollback")
    assert live_version(gpu_stack, NAME) == 1
    assert agreement(gpu_stack) == 1.0
    assert gpu_stack.inspect("triton", "{{.State.StartedAt}}") == started


@on_the_release
def test_a_server_of_another_tensorrt_is_not_started(gpu_stack: ComposeStack) -> None:
    output = gpu_stack.compose("run --rm -T --no-deps -e TRT_VERSION=11.1.0.106 triton", code=4)
    assert f"this server has TensorRT 11.1.0.106, version 1 of {NAME} was built with {RELEASE}" in output
    assert "NGC_RELEASE" in output


@on_the_release
def test_forward_compatibility_reaches_builder_and_server(gpu_stack: ComposeStack) -> None:
    """NVIDIA's images bring it by BASH_ENV; without it the simulators fail as CUDA does on an older driver."""
    for service in ("builder", "triton"):
        image = gpu_stack.inspect(service, "{{.Image}}")
        command = ["docker", "run", "--rm", "--entrypoint", "", image, "trtexec", "--help"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "CUDA initialization failure with error: 35" in done.stderr
    assert record(gpu_stack, NAME, 1)["compiler"]["name"] == "tensorrt"
    assert gpu_stack.inspect("triton", "{{.State.Health.Status}}") == "healthy"


def test_the_overlay_changes_only_what_needs_the_device() -> None:
    """So that what is proven here is said of ``compose.yaml``."""
    plain, simulated = (resolved(*files) for files in (FILES[:1], FILES))
    for service in ("builder", "triton"):
        assert plain[service].pop("deploy")["resources"]["reservations"]["devices"]
        assert "deploy" not in simulated[service]
        environment = simulated[service]["environment"]
        for setting in [name for name in environment if name.startswith("SIMULATOR_")]:
            del environment[setting]
    assert simulated["builder"]["environment"].pop("INSTANCE_KIND") == "KIND_CPU"
    assert not plain["builder"]["environment"].pop("INSTANCE_KIND")
    assert simulated == plain


def resolved(*files: str) -> Any:
    """The services, as Compose sees them."""
    command = ["docker", "compose", *(word for file in files for word in ("-f", file)), "config", "--format", "json"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)["services"]
