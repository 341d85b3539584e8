"""scripts/tune's program against a real server: it leaves nothing behind, compiles nothing, and the stack goes on serving."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.settings.reference import keys
from services.local import dotenv
from services.local.closing import served_models
from tests.conftest import wait_for
from tests.local.stack import Stack

WAIT_US = "100000"
"""So long that to wait less is a gain on any machine."""


@pytest.fixture
def served(tiny: Stack) -> Iterator[Stack]:
    """The tiny classifier, served so that every request waits."""
    tiny.settings["MAX_QUEUE_DELAY_US"] = WAIT_US
    tiny.run("builder")
    tiny.serve()
    yield tiny
    tiny.run("client", "verify")


def start(stack: Stack, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.tune"]
    command += ["--builder", f"{sys.executable} -m services.builder", "--p99", "2s", "--clients", "1", "--json", *options]
    environment = stack.environment(MODEL_REPOSITORY=str(stack.folders.repository))
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    return subprocess.Popen(
        command, env=environment, cwd=stack.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def trials(stack: Stack) -> list[Path]:
    return list(stack.folders.repository.glob("trial-*"))


def test_a_gain_is_written_down_and_published_without_a_build(served: Stack) -> None:
    out, told = (process := start(served, "--only", "MAX_QUEUE_DELAY_US", "--minutes", "0.2")).communicate(timeout=150)
    assert process.returncode == 0, told
    report = json.loads(out)
    assert report["better"], told
    assert report["version"] == served.live_version() == 2
    found = dotenv.read(served.folder / "tuned.env", {})
    assert found.keys() <= keys()
    assert found == report["after"]["settings"]
    assert int(found["MAX_QUEUE_DELAY_US"]) < int(WAIT_US)
    engines = [(served.model_folder / number / "model.onnx").stat().st_ino for number in ("1", "2")]
    assert engines[0] == engines[1]
    assert "nothing is compiled" in told
    assert trials(served) == []
    assert served_models(served.http) == [served.name]


def test_ctrl_c_and_a_dry_run_leave_everything_as_it_was(served: Stack) -> None:
    process = start(served, "--what", "pixels")
    wait_for(lambda: len(trials(served)) == 1, 60)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert trials(served) == []
    out, told = (process := start(served, "--what", "pixels", "--minutes", "0.01", "--dry-run")).communicate(timeout=100)
    assert process.returncode == 0, told
    assert json.loads(out)["version"] is None
    assert trials(served) == []
    assert not (served.folder / "tuned.env").exists()
    assert served.live_version() == 1
