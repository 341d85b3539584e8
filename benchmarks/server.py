"""A tritonserver of the benchmark's own, on free loopback ports."""

import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import ServerError, ToolError
from services.triton import launch

READY_SECONDS = 120
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """Addresses and process of a server that is ready."""

    process: subprocess.Popen[bytes]
    http: str
    grpc: str

    def cpu_seconds(self) -> float:
        """Processor time that the server and its Python backends have used; they are a session of their own."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                ticks += (int(fields[11]) + int(fields[12])) if int(fields[3]) == self.process.pid else 0
        return ticks / _TICKS


def find_triton() -> tuple[Path, Path | None]:
    """The server's program, and its folder of backends where that is not the default.

    Raises:
        ToolError: there is none, or its Python backend is incomplete.
    """
    if spec := importlib.util.find_spec("pytriton"):
        folder = Path(str(spec.origin)).parent / "tritonserver"
        stub = folder / "backends" / "python" / "triton_python_backend_stub"
        if not stub.exists():
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise ToolError(f"{stub} is missing", hint=f"cp {folder}/python_backend_stubs/{version}/{stub.name} {stub.parent}")
        return folder / "bin" / "tritonserver", folder / "backends"
    if found := shutil.which("tritonserver"):
        return Path(found), None
    raise ToolError("no tritonserver: neither the nvidia-pytriton package nor one on PATH", hint="pip install --no-deps nvidia-pytriton")


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def serve(repository: Path, model: str) -> Iterator[Server]:
    """Serve the models of a repository until the block ends; the log is written beside the repository.

    Raises:
        ServerError: the server ends, or the model does not get ready.
        ToolError: there is no server program.
    """
    program, backends = find_triton()
    http_port, grpc_port, metrics_port = free_ports(3)
    arguments = [
        str(program),
        f"--model-repository={repository}",
        "--disable-auto-complete-config",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        "--exit-timeout-secs=1",
        *([f"--backend-directory={backends}"] if backends else []),
    ]
    # The Python backend takes the environment of the first python3 on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = launch.environment(repository, http_port, os.environ) | {"PATH": path}
    log = repository.with_name("triton.log")
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(process, http_port, model, log)
        yield Server(process, f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, model: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(port, model):
        if process.poll() is not None or time.monotonic() > deadline:
            what = "did not get ready" if process.poll() is None else f"ended with {process.returncode}"
            # The end of the log is a table of options; errors begin with E and the date.
            lines = [line for line in log.read_text(errors="replace").splitlines() if re.match(r"E\d{4} |error: ", line)]
            raise ServerError(f"tritonserver {what}; the errors in its log:\n" + "\n".join(lines[-10:]))
        time.sleep(0.05)


def _ready(port: int, model: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
