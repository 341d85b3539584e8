"""The local launcher's own stages and server, in a folder and on ports of the test's own."""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from services.core.errors import ServerError
from services.local.stack import Folders
from services.local.stack import Stack as LocalStack
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
INHERITED = ("PATH", "HOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "COVERAGE_PROCESS_CONFIG")


class Asking(Protocol):
    """A client in a thread of its own, until it is ``done``."""

    done: threading.Event

    def start(self) -> None: ...
    def join(self) -> None: ...


@contextlib.contextmanager
def asking(clients: Sequence[Asking]) -> Iterator[None]:
    """They ask while the block runs."""
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.done.set()
        for client in clients:
            client.join()


class Stack(LocalStack):
    """One model folder, one repository, one server."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.http, self.grpc, self.metrics = free_ports(3)
        own = {
            **{key: os.environ[key] for key in INHERITED if key in os.environ},
            "HTTP_PORT": str(self.http),
            "GRPC_PORT": str(self.grpc),
            "METRICS_PORT": str(self.metrics),
            "GOLDEN_DIR": str(SAMPLES),
            "EXIT_TIMEOUT_SECONDS": "5",
        }
        folders = Folders(
            code=ROOT, work=folder, modules=folder, artifacts=folder / "artifacts", repository=folder / "model_repository", state=folder
        )
        super().__init__(folders, own, settings)
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def model_folder(self) -> Path:
        return self.folders.repository / self.name

    def run(self, stage: str, *arguments: str, code: int = 0, stdin: bytes = b"", **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a stage to its end and demand its exit code."""
        done = subprocess.run(
            self.command(stage, *arguments), env=self.environment(**changes), input=stdin, capture_output=True, timeout=300, cwd=self.folder
        )
        result = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert result.returncode == code, (
            f"{stage} {arguments} ended with {result.returncode}, expected {code}\n{result.stdout}{result.stderr}"
        )
        assert "Traceback" not in result.stderr
        return result

    def start(self, stage: str, *arguments: str, **changes: str) -> subprocess.Popen[bytes]:
        """Start a stage and leave it running."""
        return subprocess.Popen(
            self.command(stage, *arguments),
            env=self.environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )

    def build(self, **changes: Any) -> None:
        """Export and build."""
        self.run("exporter", **changes)
        self.run("builder", **changes)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def serve(self, *, wait_seconds: float = 90, **changes: str) -> None:
        """Start the server and wait until it is healthy."""
        self.server = self.start_server(**changes)
        try:
            self.wait_until_healthy(wait_seconds, lambda _why: None)
        except ServerError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log}") from None

    def stop(self) -> bool:
        """Stop the server as ``scripts/down`` does."""
        stopped = super().stop()
        if self.server is not None:
            self.server.wait()
            self.server = None
        return stopped

    def live_version(self) -> int:
        listed = self.run("builder", "list", "--json").stdout
        return next(int(row["version"]) for row in json.loads(listed) if row["live"])
