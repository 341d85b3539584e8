"""scripts/up, down and classify where they refuse, before anything is started."""

import os
import shutil
import socket
import subprocess

import pytest


@pytest.fixture
def clone(tmp_path, request):
    """A copy of what the scripts need, so that nothing is written in the checkout; its PATH has stand-ins first."""
    for name in ("scripts", "services"):
        shutil.copytree(request.config.rootpath / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(request.config.rootpath / ".env", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("docker", "nvidia-smi"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(clone, *command, **environ):
    env = {key: value for key, value in os.environ.items() if key not in ("MODEL", "HTTP_PORT", "GRPC_PORT", "METRICS_PORT")}
    env |= {"PATH": f"{clone}/bin:{os.environ['PATH']}", **environ}
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["up", "down", "classify", "test"])
def test_help_is_the_head_of_the_script(clone, name):
    done = run(clone, f"scripts/{name}", "--help")
    assert done.returncode == 0
    assert done.stdout.count("\n") >= 1
    assert "#" not in done.stdout
    assert "scripts/" in done.stdout


@pytest.mark.parametrize("command", [("scripts/up", "--gpus"), ("scripts/down", "now"), ("scripts/classify",)])
def test_a_wrong_word_is_refused(clone, command):
    done = run(clone, *command)
    assert done.returncode == 2
    assert "fix:" in done.stderr


def test_a_taken_port_is_named_before_anything_is_made(clone):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = run(clone, "scripts/up", "--local", HTTP_PORT=port)
    assert done.returncode == 8
    assert f"port {port} is taken (HTTP_PORT)" in done.stderr
    assert not (clone / ".venv").exists()
    assert not (clone / ".stack" / "launcher").exists()


def test_without_an_engine_the_docker_launcher_says_so(clone):
    done = run(clone, "scripts/up", "--cpu")
    assert done.returncode == 8
    assert "no Docker engine answers" in done.stderr
    assert "scripts/up --local" in done.stderr


def test_without_a_gpu_the_gpu_launcher_says_so(clone):
    done = run(clone, "scripts/up", "--gpu")
    assert done.returncode == 8
    assert "error: NVIDIA driver: found none" in done.stderr


def test_another_launcher_in_use_is_not_mixed_in(clone):
    (clone / ".stack").mkdir()
    (clone / ".stack" / "launcher").write_text("cpu\n")
    done = run(clone, "scripts/up", "--local")
    assert done.returncode == 8
    assert "the launcher cpu is in use" in done.stderr


def test_down_and_classify_know_that_nothing_runs(clone):
    assert run(clone, "scripts/down").returncode == 0
    done = run(clone, "scripts/classify", "x.jpg")
    assert done.returncode == 8
    assert "nothing runs that scripts/up started" in done.stderr


def test_the_shell_wins_over_dotenv(clone):
    script = 'source scripts/common.sh; load_settings; echo "$TOP_K $MAX_BATCH [${LABELS-unset}]"'
    assert run(clone, "bash", "-c", script, TOP_K="3").stdout == "3 32 [unset]\n"


def test_a_failing_step_shows_its_output_and_a_passing_one_does_not(clone):
    (clone / ".stack").mkdir()
    script = "source scripts/common.sh; step good sh -c 'echo quiet'; step bad sh -c 'echo loud; exit 3'"
    done = run(clone, "bash", "-c", script)
    assert done.returncode == 5
    assert "quiet" not in done.stderr
    assert "loud" in done.stderr
    assert "bad failed (exit code 3" in done.stderr
