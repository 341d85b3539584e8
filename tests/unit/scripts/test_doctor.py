"""The doctor's judgement, with stand-ins for the programs that it asks about the machine."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys

import pytest

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
NVIDIA_SMI = "#!/bin/sh\necho {gpu}\n"


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

    def make(*, compose="2.26.1-4", runtime="nvidia", gpu="NVIDIA L4, 580.95.05, 8.9", docker=True):
        for name, text in {
            "docker": docker and DOCKER.format(compose=compose, runtime=runtime),
            "nvidia-smi": gpu and NVIDIA_SMI.format(gpu=f"'{gpu}'"),
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
        ({"runtime": "io.containerd"}, "GPU in a container"),
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


def test_a_finding_says_found_need_do(doctor):
    finding = doctor.Finding("disk", ok=False, found="1 GB", need="60 GB", do="free some", launchers=("gpu",))
    assert str(finding) == "MISS  disk: found 1 GB, need 60 GB, do free some"


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
