"""The reader of the verdict, as Docker runs it."""

import json
import subprocess
import sys
import time

import pytest

from services.triton.healthcheck import verdict_file


@pytest.fixture
def check(root, tmp_path, monkeypatch):
    """Runs the check on a verdict; its exit code and what it prints."""

    def run(verdict):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        if verdict is not None:
            verdict_file({"HTTP_PORT": "9000"}).write_text(verdict if isinstance(verdict, str) else json.dumps(verdict))
        done = subprocess.run(
            [sys.executable, "-S", "-m", "services.triton.healthcheck"],
            cwd=root,
            env={"HTTP_PORT": "9000", "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert not done.stderr
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("age", "healthy", "said"),
    [
        (0, True, (0, "healthy: m answers\n")),
        (30, True, (0, "healthy: m answers\n")),
        (0, False, (1, "unhealthy: m answers\n")),
        (100, True, (1, "unhealthy: the server's launcher has not reported for 100 s\n")),
        # The clock was set back: the verdict is as good as any.
        (-100, True, (0, "healthy: m answers\n")),
    ],
)
def test_the_verdict_is_printed_unless_it_is_stale(check, age, healthy, said):
    assert check({"healthy": healthy, "message": "m answers", "time": time.time() - age}) == said


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_without_a_verdict_the_server_is_not_healthy(check, content):
    assert check(content) == (1, "unhealthy: the server's launcher has not asked it anything yet\n")


def test_servers_of_one_machine_have_a_verdict_each():
    assert verdict_file({"HTTP_PORT": "1"}) != verdict_file({"HTTP_PORT": "2"})
    assert verdict_file({"HTTP_PORT": ""}) == verdict_file({}) == verdict_file({"HTTP_PORT": "8000"})
