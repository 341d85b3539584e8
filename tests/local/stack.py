"""The stages as processes and a real Triton on the CPU, in a folder and on ports of the test's own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
ADMIN_HEADER = "x-admin"


def triton_folder() -> Path:
    """Where the nvidia-pytriton wheel has its server."""
    spec = importlib.util.find_spec("pytriton")
    assert spec is not None, "the local tier needs the packages of requirements/test.lock"
    assert spec.origin is not None
    return Path(spec.origin).parent / "tritonserver"


class Stack:
    """One model folder, one repository, one server."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.http, self.grpc, self.metrics = free_ports(3)
        self.key_file = folder / "admin.key"
        self.settings = {
            "MODEL": "efficientnet_lite0",
            "ACCELERATOR": "onnxruntime",
            "ARTIFACTS_DIR": str(folder / "artifacts"),
            "MODEL_REPOSITORY_DIR": str(folder / "model_repository"),
            "GOLDEN_DIR": str(SAMPLES),
            "ADMIN_KEY_FILE": str(self.key_file),
            "TRITON_URL": f"127.0.0.1:{self.http}",
            "TRITON_GRPC_URL": f"127.0.0.1:{self.grpc}",
            "HTTP_PORT": str(self.http),
            "GRPC_PORT": str(self.grpc),
            "METRICS_PORT": str(self.metrics),
            "EXIT_TIMEOUT_SECONDS": "5",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
            "TMPDIR": str(folder),
            **settings,
        }
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.settings.get("MODEL_NAME") or self.settings["MODEL"].rpartition(":")[2].rpartition("/")[2].removesuffix(".onnx")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def model_folder(self) -> Path:
        return self.folder / "model_repository" / self.name

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {
            key: os.environ[key]
            for key in ("PATH", "HOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "COVERAGE_PROCESS_CONFIG")
            if key in os.environ
        }
        return kept | self.settings | changes

    def command(self, stage: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", f"services.{stage}", *arguments]

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
        return (self.folder / "triton.log").read_text(errors="replace")

    def serve(self, *, wait_seconds: float = 90, **changes: str) -> None:
        """Start the server and wait until it is healthy."""
        triton = triton_folder()
        environment = self.environment(BACKEND_DIRECTORY=self.settings.get("BACKENDS", str(triton / "backends")), **changes)
        environment["PATH"] = f"{triton / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        with (self.folder / "triton.log").open("wb") as log:
            self.server = subprocess.Popen(
                self.command("triton.launch"),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + wait_seconds
        while subprocess.run(self.command("triton.healthcheck"), env=environment, capture_output=True).returncode:
            assert self.server.poll() is None, f"the server ended with {self.server.returncode}\n{self.log}"
            assert time.monotonic() < deadline, f"the server did not get healthy\n{self.log}"
            time.sleep(0.3)

    def stop(self) -> int:
        """Stop the server as Docker would, and return its exit code."""
        if self.server is None:
            return 0
        self.server.terminate()
        try:
            return self.server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            raise
        finally:
            self.server = None

    def live_version(self) -> int:
        listed = self.run("builder", "list", "--json").stdout
        return next(int(row["version"]) for row in json.loads(listed) if row["live"])
