"""Another program is run to its end, or ended with all its children; its log, and the command that repeats it, stay."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from services.builder import process
from services.core.errors import RepositoryError, ToolError


@pytest.fixture
def run(tmp_path):
    """Run a shell script as the program, with its log in the temporary folder."""

    def run(script: str, *, timeout: float = 30, **options: Any) -> str:
        return process.run(
            ["sh", "-c", script], log_file=tmp_path / "logs" / "tool.log", timeout_seconds=timeout, what="the tool runs", **options
        )

    return run


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def until_gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def test_output_of_both_kinds_is_returned_and_logged_below_the_command(run, tmp_path):
    text = run("echo out; echo err >&2")
    assert text == "$ sh -c 'echo out; echo err >&2'\nout\nerr\n"
    assert (tmp_path / "logs" / "tool.log").read_text() == text


def test_the_script_beside_the_log_runs_the_same_command_again(run, tmp_path):
    with pytest.raises(ToolError):
        run('echo "it\'s $((1 + 1))"; exit 3')
    again = subprocess.run([tmp_path / "logs" / "tool.sh"], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (3, "it's 2\n")


def test_no_shell_reads_the_arguments(tmp_path):
    text = process.run(["echo", "$HOME; touch x", "a  b"], log_file=tmp_path / "echo.log", timeout_seconds=9, what="echo")
    assert text.splitlines()[1] == "$HOME; touch x a  b"


def test_variables_are_set_and_told_in_the_command_that_repeats_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "yes")
    text = run('echo "$ADDED $KEPT"', environment={"ADDED": "a b"})
    assert text == "$ env 'ADDED=a b' sh -c 'echo \"$ADDED $KEPT\"'\na b yes\n"
    assert subprocess.run([tmp_path / "logs" / "tool.sh"], capture_output=True, text=True, check=False).stdout == "a b yes\n"


def test_a_failure_tells_exit_code_last_lines_and_how_to_repeat_it(run, tmp_path):
    with pytest.raises(ToolError) as caught:
        run("seq 100; exit 3")
    message = str(caught.value)
    assert message.startswith("sh ended with exit code 3; its last lines:\n    81\n")
    assert message.endswith("\n    100")
    assert str(tmp_path / "logs" / "tool.log") in caught.value.hint
    assert "run it again by hand: sh -c 'seq 100; exit 3'" in caught.value.hint
    assert (tmp_path / "logs" / "tool.log").read_text().count("\n") == 101


def test_a_hint_of_the_caller_wins(run):
    with pytest.raises(ToolError) as caught:
        run("exit 1", hint="take another")
    assert caught.value.hint == "take another"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_program_that_a_signal_ended_is_told_by_its_name(run, name):
    with pytest.raises(ToolError, match=f"sh was killed by {name}"):
        run(f"echo before; kill -{name[3:]} $$")


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(ToolError, match="no-such-tool cannot be started: No such file or directory"):
        process.run(["no-such-tool"], log_file=tmp_path / "tool.log", timeout_seconds=9, what="none")


def test_a_time_out_ends_the_children_of_children_too(run, tmp_path):
    script = f"echo begun; sh -c 'sleep 60 & echo $! >{tmp_path}/pid; wait' & wait"
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"sh did not end within 0\.5 s\n    .*\n    begun"):
        run(script, timeout=0.5)
    assert time.monotonic() - start < 5
    assert until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_the_builder_ends_what_it_started(start_python, tmp_path, number):
    code = """
import sys
from pathlib import Path
from services.builder import process
from services.core import log, stage
log.set_up("builder")
folder = Path(sys.argv[1])
argv = ["sh", "-c", f"sleep 60 & echo $! >{folder}/part; mv {folder}/part {folder}/pid; wait"]
stage.run(lambda: process.run(argv, log_file=folder / "tool.log", timeout_seconds=60, what="long"), debug=False)
"""
    with start_python(code, tmp_path) as builder:
        end = time.monotonic() + 20
        while not (tmp_path / "pid").exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(builder.pid, number)
        builder.communicate(timeout=20)
    assert builder.returncode == 128 + number
    assert until_gone(int((tmp_path / "pid").read_text()))


def test_the_program_reads_nothing_from_the_terminal(run):
    assert run("cat; echo end").endswith("\nend\n")


def test_output_that_is_no_utf8_is_kept_readable(run):
    assert "a\ufffdb" in run("printf 'a\\377b'")


def test_a_log_that_cannot_be_written_is_the_folders_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="cannot write in"):
        process.run(["true"], log_file=tmp_path / "file" / "tool.log", timeout_seconds=9, what="none")
