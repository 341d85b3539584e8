import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_docker.plugin import DockerComposeExecutor

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ComposeStack:
    """A Compose project of the test's own: name, files, ports, model repository."""

    executor: DockerComposeExecutor
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['HTTP_PORT']}"

    @property
    def repository(self) -> Path:
        return Path(self.settings["MODEL_REPOSITORY"])

    def compose(self, subcommand: str, *, code: int = 0, **changes: str) -> str:
        """Run ``docker compose SUBCOMMAND`` with the stack's settings, demand its exit code, and return what it printed."""
        with self._environment(changes):
            return str(self.executor.execute(subcommand, success_codes=(code,)).decode())

    def inspect(self, service: str, template: str) -> str:
        container = self.compose(f"ps --all --quiet {service}").strip().splitlines()[-1]
        return subprocess.run(["docker", "inspect", "-f", template, container], capture_output=True, text=True, check=True).stdout.strip()

    @contextlib.contextmanager
    def _environment(self, changes: Mapping[str, str]) -> Iterator[None]:
        """pytest-docker runs Compose in this process's environment."""
        wanted = {**self.settings, **changes}
        before = {key: os.environ.get(key) for key in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


MakeStack = Callable[..., contextlib.AbstractContextManager[ComposeStack]]


@pytest.fixture(scope="session")
def make_stack(docker_compose_command: str, tmp_path_factory: pytest.TempPathFactory) -> MakeStack:
    """Opens a stack under its own project name; whatever happens, its logs are shown on failure and it is taken down."""

    @contextlib.contextmanager
    def make(name: str, files: list[str], **settings: str) -> Iterator[ComposeStack]:
        ports = dict(zip(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), map(str, free_ports(3)), strict=True))
        repository = tmp_path_factory.mktemp(name) / "model_repository"
        repository.mkdir()
        repository.chmod(0o755)
        executor = DockerComposeExecutor(docker_compose_command, [str(ROOT / file) for file in files], f"t2t-{name}-{os.getpid()}")
        stack = ComposeStack(executor, {**ports, "MODEL_REPOSITORY": str(repository), "EXIT_TIMEOUT_SECONDS": "3", **settings})
        try:
            yield stack
        except BaseException:
            with contextlib.suppress(Exception):
                sys.stderr.write(stack.compose("logs --no-color --tail 60"))
            raise
        finally:
            stack.compose("down --volumes --remove-orphans --rmi local --timeout 15")

    return make


CPU_FILES = ["compose.yaml", "compose.cpu.yaml"]


@pytest.fixture(scope="session")
def cpu_stack(make_stack: MakeStack) -> Iterator[ComposeStack]:
    """The CPU variant, brought up the way a user does who wants the server alone."""
    with make_stack("cpu", CPU_FILES) as stack:
        stack.compose("up --build --detach --wait triton")
        yield stack


def json_lines(output: str) -> list[dict[str, Any]]:
    """The lines that are JSON; stderr may have come before the end of a line, as unbuffered Python writes that by itself."""
    return [json.JSONDecoder().raw_decode(line)[0] for line in output.splitlines() if line.startswith("{")]
