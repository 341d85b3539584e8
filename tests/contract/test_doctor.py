"""The doctor's judgement, with stand-ins for the programs that it asks about the machine."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys

import pytest

import services.local
from tests.ports import free_ports

DOCKER = """#!/bin/sh
case "$*" in
  version*) echo 28.3.0 ;;
  "compose version"*) echo {compose} ;;
  "buildx version"*) echo github.com/docker/buildx v0.25.0 ;;
  *Runtimes*) echo '{{"{runtime}":{{}},"runc":{{}}}}' ;;
  *DockerRootDir*) echo / ;;
  *) exit 1 ;;
esac
"""
NVIDIA_SMI = "#!/bin/sh\nprintf '%s\\n' {gpu}\n"


@pytest.fixture(scope="module")
def doctor(request):
    path = str(request.config.rootpath / "scripts" / "doctor")
    loader = importlib.machinery.SourceFileLoader("doctor", path)
    spec = importlib.util.spec_from_loader("doctor", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["doctor"] = module
    loader.exec_module(module)
    yield module
    del sys.modules["doctor"]


@pytest.fixture
def machine(tmp_path, monkeypatch, doctor):
    """Makes a machine with (or without) Docker and a GPU; the disk is large, and nothing else is on its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "NGC_DISK_GB", 0)
    monkeypatch.setattr(doctor, "CPU_DISK_GB", 0)

    def make(*, compose="2.26.1-4", runtime="nvidia", gpu="NVIDIA L4, 580.95.05, 8.9", docker=True, toolkit="1.17.8"):
        for name, text in {
            "docker": docker and DOCKER.format(compose=compose, runtime=runtime),
            "nvidia-smi": gpu and NVIDIA_SMI.format(gpu=" ".join(f"'{line}'" for line in gpu.split("; "))),
            "nvidia-ctk": toolkit and f"#!/bin/sh\necho NVIDIA Container Toolkit CLI version {toolkit}\n",
        }.items():
            if text:
                (tmp_path / name).write_text(text)
                (tmp_path / name).chmod(0o755)
        return doctor.examine()

    return make


def missing(doctor, findings, launcher):
    return {finding.what for finding in doctor.hindrances(findings, launcher)}


def test_a_gpu_with_docker_takes_the_gpu_launcher(doctor, machine):
    findings = machine()
    assert doctor.best(findings) == "gpu"
    assert doctor.reasons(findings, "gpu") == ["gpu (NVIDIA GPU and Docker): works here"]


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"gpu": "NVIDIA L4, 570.86.10, 8.9"}, "NVIDIA driver"),
        ({"gpu": "Tesla V100, 580.95.05, 7.0"}, "compute capability"),
        ({"gpu": ""}, "NVIDIA driver"),
        ({"gpu": "NVIDIA L4, 580.95.05, 8.9; Tesla V100, 580.95.05, 7.0"}, "compute capability"),
        ({"toolkit": "1.17.4"}, "NVIDIA Container Toolkit"),
        ({"runtime": "io.containerd", "toolkit": ""}, "GPU in a container"),
    ],
)
def test_one_thing_missing_for_the_gpu_takes_the_cpu_launcher(doctor, machine, parts, what):
    findings = machine(**parts)
    assert what in missing(doctor, findings, "gpu")
    assert doctor.best(findings) == "cpu"
    assert what in doctor.reasons(findings, "cpu")[0]


@pytest.mark.parametrize(("parts", "what"), [({"docker": False}, "Docker engine"), ({"compose": "2.20.3"}, "Docker Compose")])
def test_no_docker_or_an_old_compose_leaves_only_local(doctor, machine, parts, what):
    findings = machine(**parts)
    assert what in missing(doctor, findings, "gpu") & missing(doctor, findings, "cpu")
    assert what not in missing(doctor, findings, "local")


def test_a_finding_says_what_to_do_where_something_is_missing(doctor):
    told = {"what": "disk", "found": "1 GB", "need": "60 GB", "do": "free some", "launchers": ("gpu",)}
    assert str(doctor.Finding(ok=False, **told)) == "MISS  disk: found 1 GB (need 60 GB)\n        fix: free some"
    assert str(doctor.Finding(ok=True, **told)) == "ok    disk: found 1 GB (need 60 GB)"


def test_all_gpus_are_listed_and_unlike_ones_are_refused_until_one_is_chosen(doctor, machine, monkeypatch):
    two = "NVIDIA L4, 580.95.05, 8.9; NVIDIA A100-SXM4-80GB, 580.95.05, 8.0"
    findings = machine(gpu=two)
    assert doctor.best(findings) == "gpu"
    assert {finding.what for finding in doctor.refusals(findings, "gpu")} == {"kinds of GPU"}
    assert doctor.refusals(findings, "cpu") == []
    assert "NVIDIA L4 (8.9), NVIDIA A100-SXM4-80GB (8.0)" in {finding.found for finding in findings}
    monkeypatch.setenv("GPU_DEVICE_IDS", "1")
    assert doctor.refusals(machine(gpu=two), "gpu") == []
    monkeypatch.delenv("GPU_DEVICE_IDS")
    assert doctor.refusals(machine(gpu="NVIDIA L4, 580.95.05, 8.9; NVIDIA L4, 580.95.05, 8.9"), "gpu") == []


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"HTTP_PORT": "abc"}, "HTTP_PORT"),
        ({"GRPC_PORT": "99999"}, "GRPC_PORT"),
        ({"METRICS_PORT": "0"}, "METRICS_PORT"),
        ({"METRICS_PORT": "²"}, "METRICS_PORT"),
        ({"HTTP_PORT": "18001", "GRPC_PORT": "18001"}, "port 18001 (GRPC_PORT)"),
    ],
)
def test_a_port_that_cannot_be_is_a_finding(doctor, machine, monkeypatch, ports, said):
    for name, value in (dict(zip(doctor.PORTS, map(str, free_ports(3)), strict=True)) | ports).items():
        monkeypatch.setenv(name, value)
    assert [finding.what for finding in doctor.refusals(machine(), "cpu")] == [said]


def without_packages(monkeypatch):
    """As with the system's Python, which has no python-dotenv."""
    monkeypatch.delattr(services.local, "dotenv", raising=False)
    monkeypatch.setitem(sys.modules, "services.local.dotenv", None)


def test_without_packages_compose_is_asked_for_the_settings(doctor, monkeypatch):
    def compose(*_):
        return {"HTTP_PORT": "9000"}

    without_packages(monkeypatch)
    monkeypatch.setattr(doctor.compose_settings, "settings", compose)
    assert doctor.settings()[0]["HTTP_PORT"] == "9000"
    assert doctor.settings()[0]["GRPC_PORT"] == "8001"


def test_without_any_reader_it_says_that_dotenv_was_not_read(doctor, monkeypatch, tmp_path):
    without_packages(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    values, (finding,) = doctor.settings()
    assert values["HTTP_PORT"] == "8000"
    assert finding.ok
    assert "no reader" in finding.found


def test_versions(doctor):
    assert doctor.numbers("v2.26.1-4") == (2, 26, 1)
    assert doctor.numbers("none") == ()


def test_json_and_the_launcher_agree(request):
    command = [sys.executable, str(request.config.rootpath / "scripts" / "doctor")]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    chosen = subprocess.run([*command, "--launcher"], capture_output=True, text=True, timeout=120)
    report = json.loads(told.stdout)
    assert chosen.stdout.strip() == (report["launcher"] or "")
    assert chosen.returncode == told.returncode == (0 if report["launcher"] else 8)
    assert all(finding["found"] and finding["need"] and finding["do"] for finding in report["findings"])
