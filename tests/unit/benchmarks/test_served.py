"""Whose processor time is the server's."""

import os
import subprocess
import sys

import pytest

from benchmarks import machine
from benchmarks.bench.served import process_in_docker


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A stand-in that gives the words after ``compose`` and ``inspect`` their answer."""

    def make(compose, inspect):
        file = tmp_path / "docker"
        file.write_text(f'#!/bin/sh\ncase $1 in compose) {compose} ;; inspect) [ "$4" = abc ] && {inspect} ;; esac\n')
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


@pytest.mark.parametrize(
    ("compose", "inspect", "found"),
    [("echo abc", "echo 4711", 4711), ("echo abc", "echo 0", None), ("echo", "echo 4711", None), ("exit 1", "echo 4711", None)],
)
def test_the_process_of_a_container(docker, compose, inspect, found):
    docker(compose, inspect)
    assert process_in_docker() == found


def test_a_tree_is_a_process_with_what_it_started_and_their_time_counts():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            while len(machine.tree(process.pid)) < 2 or machine.tree_seconds(process.pid) < 0.2:
                assert process.poll() is None
            own = machine.tree(process.pid)
            assert process.pid in own
            assert os.getpid() not in own
        finally:
            for pid in machine.tree(process.pid):
                os.kill(pid, 9)
    assert machine.tree(process.pid) == {}
    assert machine.tree_seconds(process.pid) == 0
