"""What the compose files promise: order, hardening, ports, settings; and that the variants differ only where they may."""

import itertools
import json
import os
import re
import shutil
import subprocess

import pytest

from services.core.settings import BuilderSettings, ClientSettings, ExporterSettings

STAGES = {"exporter": ExporterSettings, "builder": BuilderSettings, "client": ClientSettings}
BY_LAUNCHER = {"ACCELERATOR", "ARTIFACTS_DIR", "MODEL_REPOSITORY_DIR", "TRITON_URL", "TRITON_GRPC_URL", "ADMIN_KEY_FILE"}

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


@pytest.fixture(scope="module")
def dotenv(root):
    lines = re.findall(r"^([A-Z_]+)=(.*)$", (root / ".env").read_text(), re.MULTILINE)
    assert len(lines) == len(dict(lines)), "a key stands twice in .env"
    return dict(lines)


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


def test_triton_reads_the_repository_and_the_key_and_writes_neither(gpu):
    mounts = {mount["target"]: mount.get("read_only", False) for mount in gpu["triton"]["volumes"]}
    assert mounts == {"/model_repository": True, "/run/admin": True, "/app/services": True}


def test_the_admin_key_is_seen_by_builder_and_triton_alone(gpu):
    holders = {name for name, service in gpu.items() if any(mount["target"] == "/run/admin" for mount in service["volumes"])}
    assert holders == {"prepare", "builder", "triton"}


def test_a_stop_leaves_the_server_its_time(gpu, dotenv):
    assert int(gpu["triton"]["stop_grace_period"].removesuffix("s")) > int(dotenv["EXIT_TIMEOUT_SECONDS"])


def test_builder_and_triton_reserve_the_gpus(gpu, config):
    reserving = [name for name, service in gpu.items() if "deploy" in service]
    assert reserving == ["builder", "triton"]
    (device,) = gpu["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], device["count"]) == ("nvidia", ["gpu"], -1)
    one = config("compose.yaml", GPU_COUNT="1")["services"]["builder"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert one["count"] == 1


def test_the_three_nvidia_images_are_of_one_release(config):
    services = config("compose.yaml", NGC_RELEASE="26.07")["services"]
    found = [
        services["exporter"]["build"]["args"]["BASE_IMAGE"],
        services["builder"]["build"]["args"]["BASE_IMAGE"],
        services["triton"]["image"],
    ]
    assert found == [f"nvcr.io/nvidia/{name}:26.07-py3" for name in ("pytorch", "tensorrt", "tritonserver")]
    other = config("compose.yaml", PYTORCH_IMAGE="a", TENSORRT_IMAGE="b", TRITON_IMAGE="c")["services"]
    assert (other["exporter"]["build"]["args"]["BASE_IMAGE"], other["builder"]["build"]["args"]["BASE_IMAGE"]) == ("a", "b")
    assert other["triton"]["image"] == "c"


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
        "triton.image",
        "client.environment",
    }
    for name in ("exporter", "builder", "triton", "client"):
        before, after = gpu[name]["environment"], cpu[name]["environment"]
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert changed == {"MODEL", "ACCELERATOR"} if name == "builder" else changed == {"MODEL"}, name


def test_one_setting_puts_the_ngc_server_on_the_cpu(config):
    image = "nvcr.io/nvidia/tritonserver:26.08-py3"
    triton = config("compose.yaml", "compose.cpu.yaml", CPU_TRITON_BASE=image)["services"]["triton"]
    assert triton["build"]["args"]["BASE_IMAGE"] == image


def test_the_default_models_are_those_of_scripts_up(root, gpu, cpu):
    chosen = dict(re.findall(r"^ +(\w+)\) MODEL=\$\{MODEL:-(\w+)\}", (root / "scripts" / "common.sh").read_text(), re.MULTILINE))
    assert chosen == {
        "gpu": gpu["client"]["environment"]["MODEL"],
        "cpu": cpu["client"]["environment"]["MODEL"],
        "local": cpu["client"]["environment"]["MODEL"],
    }


def test_every_setting_of_a_stage_reaches_it(gpu):
    for name, settings in STAGES.items():
        wanted = {field.upper() for field in settings.model_fields}
        assert wanted - BY_LAUNCHER <= gpu[name]["environment"].keys(), name


def test_every_variable_of_the_compose_files_is_in_dotenv(root, dotenv):
    text = re.sub(r"(?m)^#.*", "", (root / "compose.yaml").read_text() + (root / "compose.cpu.yaml").read_text())
    handed_on = re.findall(r"^      ([A-Z_]+):$", text, re.MULTILINE)
    assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) | set(handed_on) <= dotenv.keys()


def test_dotenv_has_every_setting_with_the_default_of_the_code(dotenv):
    for settings in STAGES.values():
        # Of these two the code has no default, or another one a launcher.
        environment = {key: value for key, value in dotenv.items() if key not in ("MODEL", "NGC_RELEASE")}
        assert settings.from_env(environment) == settings.from_env({})
        for name in settings.model_fields:
            assert name.upper() in dotenv.keys() | BY_LAUNCHER, name


def test_every_key_of_dotenv_has_a_meaning(root):
    lines = (root / ".env").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"[A-Z_]+=", line):
            assert before.startswith("#") or re.match(r"[A-Z_]+=", before), line
