"""The health check reads the launcher's verdict, quickly, and believes no old one."""

import json
import subprocess
import sys
import time

import pytest

from services.triton import healthcheck


@pytest.fixture
def verdict(monkeypatch, tmp_path):
    """Write a verdict as the launcher does."""
    monkeypatch.setattr(healthcheck.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HTTP_PORT", "9000")

    def write(*, healthy: bool, message: str, age: float = 0) -> None:
        told = {"healthy": healthy, "message": message, "time": time.time() - age}
        healthcheck.verdict_file({"HTTP_PORT": "9000"}).write_text(json.dumps(told))

    return write


@pytest.mark.parametrize(("healthy", "code", "word"), [(True, 0, "healthy"), (False, 1, "unhealthy")])
def test_the_verdict_is_told(verdict, capsys, healthy, code, word):
    verdict(healthy=healthy, message="so it is")
    assert healthcheck.main() == code
    assert capsys.readouterr().out == f"{word}: so it is\n"


def test_an_old_verdict_is_none(verdict, capsys):
    verdict(healthy=True, message="so it was", age=60)
    assert healthcheck.main() == 1
    assert "has not reported for 60 s" in capsys.readouterr().out


@pytest.mark.usefixtures("verdict")
@pytest.mark.parametrize("content", [None, "", "{"])
def test_without_a_verdict_the_server_is_not_healthy(capsys, content):
    if content is not None:
        healthcheck.verdict_file({"HTTP_PORT": "9000"}).write_text(content)
    assert healthcheck.main() == 1
    assert "has not asked it anything yet" in capsys.readouterr().out


def test_servers_of_one_machine_have_verdicts_of_their_own():
    assert healthcheck.verdict_file({"HTTP_PORT": "1"}) != healthcheck.verdict_file({"HTTP_PORT": "2"})


def test_it_loads_the_standard_library_alone():
    code = "import sys, services.triton.healthcheck; print(sorted({'numpy', 'pydantic'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
