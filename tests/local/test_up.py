"""scripts/up --local as a user runs it: a clean clone, in a folder whose name has a blank."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.core.settings.reference import keys
from services.local import processes
from services.local.closing import served_models
from services.local.stack import Folders, Stack
from tests.checkout import copy_checkout, link_environment
from tests.local.stack import INHERITED
from tests.ports import free_ports

pytestmark = pytest.mark.usefixtures("first")


class Clone:
    """A clone, and what its user's shell says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), map(str, free_ports(3)), strict=True))
        self.stack = Stack(Folders.of_checkout(folder, {}), self.ports)

    def environment(self, **settings: str) -> dict[str, str]:
        return {key: os.environ[key] for key in INHERITED if key in os.environ and key not in keys()} | settings

    def run(self, *command: str, code: int = 0, folder: Path | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=folder or self.folder, env=self.environment(**settings), capture_output=True, text=True, timeout=180
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def up(self, **settings: Any) -> subprocess.CompletedProcess[str]:
        return self.run("scripts/up", "--local", **{**self.ports, **settings})

    def start(self, *command: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command in a group of its own, as a terminal does."""
        environment = self.environment(**settings)
        environment.pop("COVERAGE_PROCESS_CONFIG", None)  # Ctrl-C during the end of coverage itself prints a traceback
        return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def server(self) -> int:
        """The process of tritonserver."""
        (found,) = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if processes.runs(int(path.parent.name), "tritonserver\0") and f"--http-port={self.ports['HTTP_PORT']}" in path.read_text()
        ]
        return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    clone = Clone(copy_checkout(tmp_path_factory.mktemp("up") / "a clone"))
    link_environment(clone.folder, "launcher", "local")
    try:
        yield clone
    finally:
        clone.stack.stop()


@pytest.fixture(scope="module")
def first(clone: Clone) -> subprocess.CompletedProcess[str]:
    """The first scripts/up; the tests below go on with what it left."""
    return clone.up()


def test_it_exports_builds_serves_and_asks(clone: Clone, first: subprocess.CompletedProcess[str]) -> None:
    assert "espresso" in first.stdout
    assert "published model_repository/efficientnet_lite0 version 1" in first.stderr
    assert served_models(int(clone.ports["HTTP_PORT"])) == ["efficientnet_lite0"]


def test_the_commands_that_it_prints_work_as_printed(clone: Clone, first: subprocess.CompletedProcess[str]) -> None:
    printed = [line[20:] for line in first.stdout.splitlines() if line.startswith("  ") and line[2:3].isalpha() and "%" not in line]
    answers = {command: clone.run("bash", "-c", command).stdout for command in printed if command != "scripts/down"}
    assert len(answers) == 3
    for command, word in {"classify": "%", "builder": "fp32", "curl": '"name":"efficientnet_lite0"'}.items():
        assert any(word in answer for line, answer in answers.items() if command in line), answers


def test_pictures_are_found_where_the_caller_is(clone: Clone, tmp_path: Path) -> None:
    for name in ("co:lon, $1.jpg", "other.jpg"):
        (tmp_path / name).write_bytes((clone.folder / "samples/coffee.jpg").read_bytes())
    done = clone.run(f"{clone.folder}/scripts/classify", "--json", "--top", "1", "*.jpg", folder=tmp_path)
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == ["co:lon, $1.jpg", "other.jpg"]


def test_a_mistyped_option_shows_the_scripts_own_usage(clone: Clone) -> None:
    for door in ("classify", "builder"):
        assert f"usage: scripts/{door}" in clone.run(f"scripts/{door}", "--jsn", code=2).stderr


def test_doing_it_again_finds_everything_up_to_date_on_the_ports_that_run(clone: Clone) -> None:
    before = clone.server()
    again = clone.run("scripts/up")
    assert again.stderr.count("up to date") == 2
    assert clone.server() == before
    refused = clone.run("scripts/up", code=8, HTTP_PORT=str(free_ports(1)[0]))
    assert f"HTTP_PORT={clone.ports['HTTP_PORT']}, asked for" in refused.stderr
    assert clone.server() == before


def test_a_killed_server_comes_back_by_itself(clone: Clone) -> None:
    before = clone.server()
    os.kill(before, signal.SIGKILL)
    done = clone.run("scripts/classify", "samples/coffee.jpg", "--wait", "60")
    assert "espresso" in done.stdout
    assert clone.server() != before
    assert "starting it again" in clone.stack.log_file.read_text()


def test_down_ends_everything_and_versions_can_still_be_listed(clone: Clone) -> None:
    assert "stopped" in clone.run("scripts/down").stderr
    assert not any(map(processes.listens, map(int, clone.ports.values())))
    assert clone.stack.supervisor is None
    assert "nothing runs" in clone.run("scripts/down").stderr
    assert "nothing runs" in clone.run("scripts/classify", "samples/coffee.jpg", code=8).stderr
    assert "fp32" in clone.run("scripts/builder", "list").stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("said", ["launcher: local", "loading PyTorch", "server (log"])
def test_an_interrupted_start_leaves_nothing_running(clone: Clone, said: str, sent: signal.Signals) -> None:
    forced = {"GOLDEN_COUNT": "4" if sent == signal.SIGINT else "5"} if said == "loading PyTorch" else {}
    with clone.start("scripts/up", "--local", **clone.ports, **forced) as process:
        assert process.stderr
        seen = ""
        while said not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        time.sleep(0.3)
        os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
        seen += process.communicate(timeout=60)[1]
    assert process.returncode in (128 + sent, -sent), seen
    assert clone.stack.supervisor is None
    assert not any(map(processes.listens, map(int, clone.ports.values())))
    assert not (clone.folder / ".stack/launcher").exists()
    assert "Traceback" not in seen
