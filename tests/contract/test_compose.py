"""What the compose files promise: order, hardening, ports, settings; and that the variants differ only where they may."""

import json
import os
import re
import shutil
import subprocess

import pytest

from services.core.settings import BuilderSettings, ClientSettings, ExporterSettings, ModelSettings, Settings, TritonSettings
from services.core.settings.base import told
from services.core.settings.reference import keys
from services.local.stack import DEFAULT_MODEL
from tests.contract.test_import_isolation import BELOW

STAGES: dict[str, type[Settings]] = {
    "exporter": ExporterSettings,
    "builder": BuilderSettings,
    "triton": TritonSettings,
    "client": ClientSettings,
}
PORTS = {"HTTP_PORT", "GRPC_PORT", "METRICS_PORT"}  # inside the container they are always the same
# What other programs read: Python, PyTorch, CUDA, and core.hints.
OF_OTHERS = {"LAUNCHER", "TORCH_HOME", "PYTHONPATH", "CUDA_DEVICE_ORDER"}

pytestmark = pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="docker compose is not installed",
)


@pytest.fixture(scope="module")
def root(request):
    return request.config.rootpath


@pytest.fixture(scope="module")
def config(root):
    """The resolved configuration of some compose files, as Compose itself sees it, with settings over those of .env."""

    def load(*files, **settings):
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}
        command = ["docker", "compose", *(word for file in files for word in ("-f", file)), "config", "--format", "json"]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return load


@pytest.fixture(scope="module")
def gpu(config):
    return config("compose.yaml")["services"]


@pytest.fixture(scope="module")
def cpu(config):
    return config("compose.yaml", "compose.cpu.yaml")["services"]


def test_every_stage_waits_for_the_one_before(gpu):
    found = {name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()} for name, service in gpu.items()}
    done = "service_completed_successfully"
    assert found == {
        "prepare": {},
        "exporter": {"prepare": done},
        "builder": {"exporter": done},
        "triton": {"builder": done},
        "client": {"triton": "service_healthy"},
    }


def test_every_container_is_hardened(gpu):
    for name, service in gpu.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"], name
        assert re.fullmatch(r"/tmp:size=\d+[mg]", *service["tmpfs"]), name
        assert int(service["mem_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["user"] == ("0:0" if name == "prepare" else "1000:1000"), name
        assert "privileged" not in service, name
    assert gpu["prepare"]["network_mode"] == "none"


def test_only_triton_is_published_and_only_on_loopback(gpu, config):
    assert [name for name, service in gpu.items() if "ports" in service] == ["triton"]
    assert [(p["host_ip"], p["published"], p["target"]) for p in gpu["triton"]["ports"]] == [
        ("127.0.0.1", "8000", 8000),
        ("127.0.0.1", "8001", 8001),
        ("127.0.0.1", "8002", 8002),
    ]
    moved = config("compose.yaml", HTTP_PORT="9000", GRPC_PORT="9001", METRICS_PORT="9002")["services"]["triton"]["ports"]
    assert [port["published"] for port in moved] == ["9000", "9001", "9002"]


@pytest.mark.parametrize("variant", [[], ["compose.cpu.yaml"]])
def test_behind_the_gateway_nothing_else_is_published(config, variant):
    """With or without it, no setting publishes Triton beyond loopback: 24.10 has published weaknesses."""
    bound = config("compose.yaml", *variant, LISTEN_ADDRESS="192.0.2.1")["services"]["triton"]
    assert {port["host_ip"] for port in bound["ports"]} == {"127.0.0.1"}
    public = config("compose.yaml", *variant, "compose.public.yaml")["services"]
    assert {name: [(p["host_ip"], p["published"], p["target"]) for p in s["ports"]] for name, s in public.items() if s.get("ports")} == {
        "gateway": [("0.0.0.0", "443", 8443)]
    }
    gateway = public["gateway"]
    assert {mount["target"]: mount["read_only"] for mount in gateway["volumes"]} == {"/tls": True, "/keys": True}
    hardening = ("read_only", "cap_drop", "security_opt", "init", "user", "pids_limit", "logging")
    assert {key: gateway[key] for key in hardening} == {key: public["client"][key] for key in hardening}
    assert int(gateway["mem_limit"]) > int(gateway["environment"]["SERVER_IN_FLIGHT"]) * int(gateway["environment"]["PUBLIC_MAX_BYTES"])
    assert gateway["environment"].items() <= public["prepare"]["environment"].items()


def test_triton_reads_the_repository_and_does_not_write_it(gpu):
    mounts = {mount["target"]: mount.get("read_only", False) for mount in gpu["triton"]["volumes"]}
    assert mounts == {"/model_repository": True}


def test_no_code_is_mounted(gpu, root):
    sources = {mount["source"] for service in gpu.values() for mount in service.get("volumes", []) if mount["type"] == "bind"}
    assert sources == {str(root / name) for name in ("model_repository", "samples", "models")}


def test_an_image_holds_the_rooms_that_its_service_may_import(root):
    stages = re.split(r"(?m)^FROM \S+ AS ", (root / "services" / "Dockerfile").read_text())
    found = {stage.split()[0]: set(re.findall(r"^COPY services/(\w+) ", stage, re.MULTILINE)) for stage in stages}
    for target in ("exporter", "builder", "client", "triton", "triton-cpu"):
        service = target.removesuffix("-cpu")
        assert found[target] == {service, *BELOW[service]}, target


def test_a_stop_leaves_the_server_its_time(gpu):
    assert int(gpu["triton"]["stop_grace_period"].removesuffix("s")) > TritonSettings().exit_timeout_seconds


def test_a_server_that_ends_by_itself_is_started_again_as_often_as_it_takes(gpu):
    assert {name: service["restart"] for name, service in gpu.items() if "restart" in service} == {"triton": "unless-stopped"}


def test_only_exporter_and_client_have_a_way_out(config):
    found = config("compose.yaml")
    networks, services = found["networks"], found["services"]
    ways = {name: set(service.get("networks", ())) for name, service in services.items()}
    assert ways == {
        "prepare": set(),
        "exporter": {"default"},
        "builder": {"inside"},
        "triton": {"inside", "ports"},
        "client": {"inside", "default"},
    }
    assert networks["inside"]["internal"]
    assert networks["ports"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert {name for name, service in services.items() if "dns" in service} == {"builder", "triton"}


def test_builder_and_triton_reserve_the_gpus(gpu, config):
    reserving = [name for name, service in gpu.items() if "deploy" in service]
    assert reserving == ["builder", "triton"]
    (device,) = gpu["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "capabilities": ["gpu"], "device_ids": ["all"]}
    services = config("compose.yaml", GPU_DEVICE_IDS="1,GPU-8a")["services"]
    for name in reserving:
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == ["1,GPU-8a"]  # Docker hands them on as NVIDIA_VISIBLE_DEVICES
        assert services[name]["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_the_three_nvidia_images_are_of_one_release(config):
    def bases(**settings):
        services = config("compose.yaml", **settings)["services"]
        return [services[name]["build"]["args"]["BASE_IMAGE"] for name in ("exporter", "builder", "triton")]

    assert bases(NGC_RELEASE="26.07") == [f"nvcr.io/nvidia/{name}:26.07-py3" for name in ("pytorch", "tensorrt", "tritonserver")]
    assert bases(PYTORCH_IMAGE="a", TENSORRT_IMAGE="b", TRITON_IMAGE="c") == ["a", "b", "c"]


def test_every_image_can_be_given_by_its_digest(config):
    names = ("PYTORCH_IMAGE", "TENSORRT_IMAGE", "TRITON_IMAGE", "DEBIAN_IMAGE", "CPU_TRITON_BASE")
    digests = {name: f"registry.test:5000/an/image:1@sha256:{number:064x}" for number, name in enumerate(names)}
    stacks = [config(*files, **digests)["services"].values() for files in (["compose.yaml"], ["compose.yaml", "compose.cpu.yaml"])]
    assert all("image" not in service for services in stacks for service in services)
    assert {service["build"]["args"]["BASE_IMAGE"] for services in stacks for service in services} == set(digests.values())


def test_the_variants_differ_only_where_they_may(gpu, cpu):
    differences = {
        f"{name}.{key}"
        for name in gpu.keys() | cpu.keys()
        for key in gpu[name].keys() | cpu[name].keys()
        if gpu[name].get(key) != cpu[name].get(key)
    }
    assert differences == {
        "exporter.build",
        "exporter.environment",
        "builder.build",
        "builder.deploy",
        "builder.environment",
        "triton.build",
        "triton.deploy",
        "triton.environment",
    }
    for name in ("exporter", "builder", "triton"):
        before, after = gpu[name]["environment"], cpu[name]["environment"]
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert changed == {"MODEL", "ACCELERATOR"} if name == "builder" else changed == {"MODEL"}, name


def test_the_images_differ_by_their_base_alone(gpu, cpu):
    for name in ("exporter", "builder", "triton"):
        before, after = gpu[name]["build"], cpu[name]["build"]
        assert before["args"].items() - after["args"].items() == {("BASE_IMAGE", before["args"]["BASE_IMAGE"])}
        assert after["args"].keys() - before["args"].keys() == {"APT_PACKAGES"}
        assert after["target"] == ("triton-cpu" if name == "triton" else before["target"])
        assert before["secrets"] == after["secrets"]


def test_one_setting_puts_the_ngc_server_on_the_cpu(config):
    image = "nvcr.io/nvidia/tritonserver:26.08-py3"
    triton = config("compose.yaml", "compose.cpu.yaml", CPU_TRITON_BASE=image)["services"]["triton"]
    assert triton["build"]["args"]["BASE_IMAGE"] == image


def test_the_default_models_are_those_of_the_code(gpu, cpu):
    for name in ("exporter", "builder", "triton"):
        assert gpu[name]["environment"]["MODEL"] == ModelSettings().model
        assert cpu[name]["environment"]["MODEL"] == DEFAULT_MODEL


def test_a_client_that_is_told_no_model_asks_the_server(gpu, cpu, config):
    for environment in (gpu["client"]["environment"], cpu["client"]["environment"]):
        assert (environment["MODEL"], environment["MODEL_NAME"]) == ("", "")
    told = config("compose.yaml", MODEL="resnet18", MODEL_NAME="shop")["services"]
    assert {(told[name]["environment"]["MODEL"], told[name]["environment"]["MODEL_NAME"]) for name in STAGES} == {("resnet18", "shop")}


@pytest.mark.parametrize("name", STAGES)
def test_every_setting_of_a_stage_reaches_it_and_no_other(gpu, name):
    kind = STAGES[name]
    fields = {field.upper() for field in kind.model_fields} - PORTS
    by_launcher = {field.upper() for field in kind.model_fields if told(kind, field)["by_launcher"]}
    assert fields - by_launcher <= gpu[name]["environment"].keys() <= fields | OF_OTHERS


def test_every_setting_of_every_stage_is_checked_before_the_first_starts(gpu):
    wanted = {field.upper() for kind in STAGES.values() for field in kind.model_fields if not told(kind, field)["by_launcher"]}
    assert wanted <= gpu["prepare"]["environment"].keys()
    assert "services.core.settings.check" in " ".join(gpu["prepare"]["command"])


def test_a_setting_reaches_the_stages_as_it_is_written(config):
    written = {"MAX_BATCH": "7", "WEIGHTS": "/models/a b.pth", "CLIENT_BATCH": "3", "MAX_PIXELS": "1000", "EXIT_TIMEOUT_SECONDS": "4"}
    services = config("compose.yaml", **written)["services"]
    for name, kind in STAGES.items():
        for key, value in written.items():
            assert services[name]["environment"].get(key) == (value if key.lower() in kind.model_fields else None), name
            assert services["prepare"]["environment"][key] == value


def test_every_variable_of_the_compose_files_is_a_setting(root):
    text = re.sub(r"(?m)^#.*", "", "".join(path.read_text() for path in root.glob("compose*.yaml")))
    handed_on = set(re.findall(r"(?m)^ +([A-Z_]+):$", text)) - OF_OTHERS
    assert handed_on
    assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) | handed_on <= keys()
