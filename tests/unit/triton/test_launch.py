"""The server's command line, what keeps it from being started, and what its launcher does while it runs."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.core.errors import ContractError, ServerError, SettingsError, ToolError
from services.core.settings import TritonSettings
from services.triton.launch import CLOSED, arguments, environment, serve
from services.triton.watch import Watcher
from tests.conftest import wait_for


def settings(**changes):
    return TritonSettings.from_env({"MODEL": "m", "HTTP_PORT": "9000"} | changes)


def test_only_the_configured_model_is_loaded():
    argv = arguments(settings(MODEL="resnet18", MODEL_NAME="shop"), {})
    assert argv[0] == "tritonserver"
    assert [word for word in argv if word.startswith("--load-model")] == ["--load-model=_control", "--load-model=shop"]
    assert {"--model-control-mode=explicit", "--disable-auto-complete-config", "--http-port=9000", "--grpc-port=8001"} <= set(argv)


def test_the_server_listens_on_loopback_unless_it_is_told_otherwise():
    for address in ("127.0.0.1", "0.0.0.0"):
        argv = arguments(settings(LISTEN_ADDRESS="" if address == "127.0.0.1" else address), {})
        assert {f"--http-address={address}", f"--grpc-address={address}", f"--metrics-address={address}"} <= set(argv)


def test_administrative_apis_are_closed_to_everybody_on_both_protocols():
    argv = arguments(settings(), {})
    value = f"model-repository,shared-memory,trace,logging:{CLOSED}"
    assert f"--http-restricted-api={value}" in argv
    assert f"--grpc-restricted-protocol={value}" in argv


def test_a_release_that_ends_where_a_load_fails_has_model_control_over_http_for_the_launcher():
    old, new = ({"NVIDIA_TRITON_SERVER_VERSION": release} for release in ("24.10", "26.08"))
    key = environment(Path("r"), 9000, old)["STACK_CONTROL_KEY"]
    assert key != environment(Path("r"), 9000, old)["STACK_CONTROL_KEY"]  # another for each start
    argv = arguments(settings(), {"STACK_CONTROL_KEY": key})
    assert {f"--http-restricted-api=model-repository:x-control={key}", f"--http-restricted-api=shared-memory,trace,logging:{CLOSED}"} <= {
        *argv
    }
    assert [word for word in argv if key in word and "grpc" in word] == []
    assert "STACK_CONTROL_KEY" not in environment(Path("r"), 9000, new)


def test_options_that_some_servers_lack_are_given_only_where_set():
    plain = arguments(settings(MAX_REQUEST_BYTES="", BACKEND_DIRECTORY=""), {"NVIDIA_TRITON_SERVER_VERSION": "26.08"})
    assert not [word for word in plain if word.startswith(("--http-max-input-size", "--backend-directory"))]
    full = arguments(settings(MAX_REQUEST_BYTES="99", BACKEND_DIRECTORY="/b"), {"NVIDIA_TRITON_SERVER_VERSION": "26.08"})
    assert {"--http-max-input-size=99", "--backend-directory=/b"} <= set(full)


def test_the_servers_python_finds_this_code_and_what_its_image_says_of_its_own():
    found = environment(Path("/r"), 8000, {"PYTHONPATH": f"{os.pathsep}/opt/dali{os.pathsep}/opt/more", "A": "b"})
    code, packages, *others = found["STACK_PYTHONPATH"].split(os.pathsep)
    assert (Path(code) / "services").is_dir()
    assert (Path(packages) / "numpy").is_dir()
    assert others == ["/opt/dali", "/opt/more"]
    assert found["A"] == "b"
    assert found["STACK_REPOSITORY"] == "/r"
    assert len(environment(Path("r"), 8000, {})["STACK_PYTHONPATH"].split(os.pathsep)) == 2


@pytest.mark.parametrize("release", ["", "24.10"])
def test_a_bound_that_the_server_does_not_know_is_ignored_with_a_warning(caplog, release):
    argv = arguments(settings(MAX_REQUEST_BYTES="99"), {"NVIDIA_TRITON_SERVER_VERSION": release})
    assert not [word for word in argv if word.startswith("--http-max-input-size")]
    assert "MAX_REQUEST_BYTES=99 is ignored" in caplog.text


class Watched(Watcher):
    """Finds the problems that it is told to find, one a turn."""

    pause = 0.02

    def __init__(self, *problems, wait_for=None):
        super().__init__(1, Path("m"), Path("verdict"))
        self.problems, self.turns, self.wait_for = list(problems), 0, wait_for

    def turn(self):
        if self.wait_for:
            wait_for(self.wait_for.exists)
        self.turns += 1
        problem = self.problems.pop(0) if self.problems else ""
        self._failed.append(bool(problem))
        return problem


@pytest.fixture
def signals():
    """``serve`` takes over two signals; the test process gets its own back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def program(code):
    return [sys.executable, "-c", code]


@pytest.mark.usefixtures("signals")
def test_the_servers_exit_code_is_the_launchers():
    assert serve(program("raise SystemExit(3)"), os.environ, Watched()) == 3
    assert serve(program("import os; os.kill(os.getpid(), 11)"), os.environ, Watched()) == 128 + signal.SIGSEGV


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("deaf", [False, True])
def test_a_server_that_fails_three_questions_in_a_row_is_ended(monkeypatch, caplog, tmp_path, deaf):
    monkeypatch.setattr("services.triton.launch._KILL_AFTER_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    started = tmp_path / "started"
    watched = Watched("", "one", "", *["no answer"] * 2, wait_for=started)
    with pytest.raises(ServerError, match="no longer answers: no answer"):
        serve([sys.executable, "-c", SERVER, str(started), *(["deaf"] if deaf else [])], os.environ, watched)
    assert watched.turns == 5
    assert caplog.text.count("no answer") == 1  # said once, not three times
    assert gone(int(started.read_text()))


def test_a_server_that_is_not_there_is_said_so():
    with pytest.raises(ToolError, match="tritonserver is not on PATH"):
        serve(["/nonexistent/tritonserver"], os.environ, Watched())


SERVER = """
import os, signal, sys, time
from pathlib import Path
def end(*_):
    raise SystemExit(5)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else end)
Path(sys.argv[1]).with_suffix(".part").write_text(str(os.getpid()))
Path(sys.argv[1]).with_suffix(".part").rename(sys.argv[1])
time.sleep(60)
"""


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # ended; nobody has asked for its code yet


@dataclass(frozen=True)
class Launcher:
    """Runs the launcher as a process."""

    root: Path
    environment: dict[str, str]
    started: Path  # has the pid of the server
    verdict: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, **changes):
        command = [sys.executable, "-m", "services.triton.launch"]
        self.processes.append(subprocess.Popen(command, cwd=self.root, env=self.environment | changes, stderr=subprocess.PIPE, text=True))
        return self.processes[-1]


@pytest.fixture
def launch(root, publish, tmp_path):
    """The launcher, on a published model, with a ``tritonserver`` on PATH that only waits."""
    folder = publish(compiler=("tensorrt", "11.2.1.2"))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tritonserver"
    started = tmp_path / "started"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.argv = ['', {str(started)!r}]\n{SERVER}")
    program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "MODEL": "m",
        "MODEL_REPOSITORY_DIR": str(folder.parent),
        "HTTP_PORT": "1",  # nothing answers there
        "TMPDIR": str(tmp_path),
    }
    launcher = Launcher(root, environment, started, tmp_path / "triton-verdict-1.json")
    yield launcher
    for process in launcher.processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handed_on_and_the_servers_code_given_back(launch, number):
    process = launch()
    wait_for(launch.started.exists)
    wait_for(launch.verdict.exists)  # the watcher asks from the start
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 5
    assert "error:" not in said
    assert "nothing answers on port 1" in json.loads(launch.verdict.read_text())["message"]


def test_a_launcher_that_is_killed_takes_its_server_along(launch):
    process = launch()
    wait_for(launch.started.exists)
    process.kill()
    wait_for(lambda: gone(int(launch.started.read_text())))


def test_a_verdict_of_an_earlier_run_does_not_count(launch):
    launch.verdict.write_text(json.dumps({"healthy": True, "message": "m answers", "time": time.time()}))
    launch()
    wait_for(launch.started.exists)
    wait_for(lambda: not launch.verdict.exists() or not json.loads(launch.verdict.read_text())["healthy"])


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"TRT_VERSION": "11.1.0.106"}, ContractError.exit_code, "this server has TensorRT 11.1.0.106"),
        ({"MODEL_NAME": "other"}, ContractError.exit_code, "model other is not published"),
        ({"HTTP_PORT": "web"}, SettingsError.exit_code, "HTTP_PORT=web"),
    ],
)
def test_what_is_wrong_is_said_before_the_server_starts(launch, changes, code, said):
    process = launch(**changes)
    _, text = process.communicate(timeout=60)
    assert process.returncode == code
    assert said in text
    assert "Traceback" not in text
    assert not launch.started.exists()
