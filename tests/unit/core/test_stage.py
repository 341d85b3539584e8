"""However a stage ends, its exit code says how, and a traceback is shown to who asked for one."""

import re
import signal
import subprocess

import pytest

from services.core import errors

RUN = """
import sys, time
from services.core import errors, log, stage

def main():
    {body}
    return 0

log.set_up("test")
stage.run(main, debug="--debug" in sys.argv)
"""


@pytest.fixture
def ended(run_python):
    """How a stage ended whose main has this body."""

    def run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(RUN.format(body=body), *arguments)

    return run


def documented() -> dict[str, int]:
    """Error classes and exit codes, as the docstring draws them."""
    return {name: int(code) for name, code in re.findall(r"\+ (\w+)\s+(\d+)", errors.__doc__)}


def test_the_tree_in_the_docstring_is_the_tree():
    assert documented() == {kind.__name__: kind.exit_code for kind in errors.StackError.__subclasses__()}
    assert len(set(documented().values())) == len(documented())


@pytest.mark.parametrize(("name", "code"), documented().items())
def test_exit_code_message_and_fix_of_every_error(ended, name, code):
    result = ended(f"raise errors.{name}('found 3, expected 4', hint='take 4')")
    assert result.returncode == code
    assert result.stderr == "[test] error: found 3, expected 4\n[test]    fix: take 4\n"


def test_success_is_0_and_data_is_on_stdout(ended):
    result = ended("print('data')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "data\n", "")


def test_mains_own_code_is_the_exit_code(ended):
    assert ended("return 9").returncode == 9


@pytest.mark.parametrize("body", ["raise errors.ToolError('no')", "raise OSError(5, 'Input/output error')", "1 / 0"])
def test_a_traceback_is_shown_with_debug_alone(ended, body):
    assert "Traceback" not in ended(body).stderr
    assert "Traceback" in ended(body, "--debug").stderr


def test_a_defect_is_70_and_says_that_it_is_one(ended):
    result = ended("{}['absent']")
    assert result.returncode == 70
    assert "KeyError: 'absent' (a defect of this stack)" in result.stderr
    assert "--debug" in result.stderr


def test_a_full_disk_is_the_same_exit_code_wherever_it_is_met(ended):
    result = ended("with open('/dev/full', 'w') as file: file.write('x')")
    assert result.returncode == errors.RepositoryError.exit_code
    assert "No space left on device" in result.stderr
    assert "free some disk space" in result.stderr


@pytest.mark.parametrize("body", ["open('/nowhere/at/all')", "open('/etc')", "raise OSError(5, 'Input/output error')", "open('a' * 300)"])
def test_a_file_that_the_system_refuses_is_no_defect(ended, body):
    result = ended(body)
    assert result.returncode == errors.RepositoryError.exit_code
    assert "may read and write there" in result.stderr


def test_bytes_that_are_no_text_are_no_defect_and_are_not_shown(ended):
    result = ended("b'secret\\xff'.decode()")
    assert result.returncode == errors.ContractError.exit_code
    assert "no utf-8 text" in result.stderr
    assert "secret" not in result.stderr


def test_too_little_memory_is_no_defect(ended):
    result = ended("bytearray(1 << 60)")
    assert result.returncode == errors.ServerError.exit_code
    assert "error: not enough memory" in result.stderr
    assert "EXPORTER_MEMORY" in result.stderr


@pytest.mark.parametrize("body", ["raise errors.ToolError('a\\x1b[2J\\n    b', hint='c\\x9b')", "raise KeyError('\\x1b[2J')"])
def test_escape_sequences_in_an_error_do_not_reach_the_terminal(ended, body):
    result = ended(body)
    assert not set(result.stderr) & {"\x1b", "\x9b"}
    assert r"\x1b[2J" in result.stderr


def test_escape_sequences_in_an_argument_do_not_reach_the_terminal(run_python):
    code = "from services.core.stage import argument_parser; argument_parser('builder', '', '').parse_args()"
    result = run_python(code, "--\x1b[2J")
    assert result.returncode == 2
    assert result.stderr.endswith("unrecognized arguments: --\\x1b[2J\n")


def test_an_error_before_the_settings_are_read_is_printed_in_the_same_way(run_python):
    code = "from services.core import errors, stage\ndef main(): raise errors.ToolError('a\\x1b')\nstage.run(main, debug=False)"
    assert run_python(code).stderr == "error: a\\x1b\n"


def test_a_letter_that_the_terminal_lacks_does_not_end_the_run(run_python):
    result = run_python(RUN.format(body="print('bl\xfce')"), environment={"PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stdout) == (0, "bl\\xfce\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_stage_cleans_up_and_says_by_its_code_what_ended_it(start_python, number, code):
    body = "try:\n        print('started', flush=True)\n        time.sleep(60)\n    finally:\n        print('cleaned')"
    with start_python(RUN.format(body=body)) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned\n")
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(start_python):
    with start_python(RUN.format(body="[print('line') for _ in range(100_000)]")) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == ""


def test_progress_tells_that_it_goes_on_and_that_it_is_done(ended):
    result = ended("with stage.progress('compiling', every_seconds=0.05): time.sleep(0.2)")
    lines = result.stderr.splitlines()
    assert lines[0] == "[test] compiling ..."
    assert len(lines) >= 4
    assert re.fullmatch(r"\[test\] compiling: done in \d\.\d s", lines[-1])


def test_progress_of_a_failure_does_not_claim_to_be_done(ended):
    result = ended("with stage.progress('compiling'): raise errors.ToolError('no')")
    assert "done" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_an_import_turns_into_an_error_is_one_still(run_python, number):
    code = f"""
import os, signal, time
from services.core import log, stage
def main():
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(5)
    except BaseException:
        raise ImportError("initialization failed") from None
log.set_up("test")
stage.run(main, debug=False)
"""
    result = run_python(code)
    assert result.returncode == 128 + number
    assert "defect" not in result.stderr


def test_help_begins_with_the_command_of_the_launcher(run_python):
    code = "from services.core.stage import argument_parser; argument_parser('builder', 'Builds.', 'settings').parse_args()"
    result = run_python(code, "--help", environment={"LAUNCHER": "local"})
    assert result.returncode == 0
    assert result.stdout.startswith("usage: scripts/builder ")
    assert "--debug" in result.stdout
