"""Starts tritonserver on the published model, stays its parent, and watches it: ``python -m services.triton.launch``.

The same command runs in NVIDIA's image, in the CPU image and as a local process; what differs comes from the settings. A server that
was healthy and then fails three of its last eight questions is ended with exit code 8, for Docker or the local launcher to start it again.

The options are those of ``src/command_line_parser.cc`` of triton-inference-server/server; all that are always given exist
from 24.10 (the release of the PyPI wheel) to 26.08. Restricted APIs are described in its
``docs/customization_guide/inference_protocols.md``.
"""

import ctypes
import logging
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from services.core import log as logging_setup
from services.core import stage
from services.core.errors import ServerError, ToolError
from services.core.names import CONTROL, image_name
from services.core.published import CONFIG, CONTROL_HEADER
from services.core.settings import TritonSettings
from services.triton.checks import demand_published, demand_servable
from services.triton.healthcheck import verdict_file
from services.triton.models import regions
from services.triton.watch import Watcher

log = logging.getLogger(__name__)

ADMIN_APIS = ("model-repository", "shared-memory", "trace", "logging")
CLOSED = "closed to everybody=\r\n"
"""A header that these APIs want and nobody can send: neither a name with blanks nor a line break as value passes in HTTP or gRPC.

Nothing of ours needs them, and every account of the host can read the command line.
"""
_RELEASE = "NVIDIA_TRITON_SERVER_VERSION"
_OWN_MODELS = Path(__file__).with_name("repository")
MOST_FAILURES = 3
_KILL_AFTER_SECONDS = 5.0
# Read in the sources of this release; 24.10 lacks --http-max-input-size, and those in between were not looked at.
_LEAST_RELEASE_FOR_A_LIMIT = (26, 1)
_LEAST_RELEASE_THAT_LOADS = (25, 12)  # python_backend #420
_PR_SET_PDEATHSIG = 1


def arguments(settings: TritonSettings, environ: Mapping[str, str]) -> list[str]:
    """The server's command line."""
    closed, key = f"{','.join(ADMIN_APIS)}:{CLOSED}", environ.get("STACK_CONTROL_KEY")
    over_http = [f"model-repository:{CONTROL_HEADER}={key}", f"{','.join(ADMIN_APIS[1:])}:{CLOSED}"] if key else [closed]
    return [
        "tritonserver",
        f"--model-repository={settings.model_repository_dir}",
        f"--model-repository={settings.control_directory or _OWN_MODELS}",
        "--model-control-mode=explicit",
        f"--load-model={CONTROL}",
        f"--load-model={settings.name}",
        *_image_model(settings),
        # The server stays for a model that is loaded later; health asks for the configured one.
        "--exit-on-error=false",
        "--strict-readiness=true",
        "--disable-auto-complete-config",
        f"--http-address={settings.listen_address}",
        f"--http-port={settings.http_port}",
        f"--grpc-address={settings.listen_address}",
        f"--grpc-port={settings.grpc_port}",
        f"--metrics-address={settings.listen_address}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout_seconds}",
        *[f"--http-restricted-api={restricted}" for restricted in over_http],
        f"--grpc-restricted-protocol={closed}",
        *_limit(settings.max_request_bytes, environ),
        *([f"--backend-directory={settings.backend_directory}"] if settings.backend_directory else []),
        f"--backend-config=python,shm-region-prefix-name={_regions(settings)}",
    ]


def _regions(settings: TritonSettings) -> str:
    """How the names begin of the regions in shared memory through which this server and its Python models talk."""
    return f"triton-{settings.http_port}-"


def _image_model(settings: TritonSettings) -> list[str]:
    """The model that takes pictures as files, where it is published; Triton would miss one that is not."""
    name = image_name(settings.name)
    return [f"--load-model={name}"] if (settings.model_repository_dir / name / CONFIG).is_file() else []


def environment(repository: Path, http_port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: its Python models find this code, and the packages of this environment, by ``STACK_PYTHONPATH``.

    At its end is what ``PYTHONPATH`` has, which the server's Python ignores: with it NVIDIA's image says where its DALI lies.
    ``STACK_REPOSITORY`` tells ``_control`` where models are published; ``STACK_CONTROL_KEY``, made for each start, lets it load them
    over HTTP in a release whose Python backend ends the server where a load fails.
    """
    own = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib")]
    others = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    key = (
        {}
        if _release(environ) >= _LEAST_RELEASE_THAT_LOADS
        else {"STACK_CONTROL_KEY": secrets.token_hex(32), "STACK_HTTP_PORT": str(http_port)}
    )
    return {
        **environ,
        **key,
        "STACK_PYTHONPATH": os.pathsep.join([*own, *others]),
        "STACK_REPOSITORY": str(repository.absolute()),
    }


def _release(environ: Mapping[str, str]) -> tuple[int, ...]:
    """That of NVIDIA's image; empty where the server comes from elsewhere, which has been an older one."""
    return tuple(int(part) for part in environ.get(_RELEASE, "").split(".") if part.isdigit())


def _limit(size: int, environ: Mapping[str, str]) -> list[str]:
    """The bound of HTTP requests, where the server's image is of a release that has one."""
    if size and _release(environ) < _LEAST_RELEASE_FOR_A_LIMIT:
        log.warning("MAX_REQUEST_BYTES=%d is ignored: Triton %s has no such option", size, environ.get(_RELEASE) or "of this environment")
        return []
    return [f"--http-max-input-size={size}"] if size else []


def serve(argv: Sequence[str], environ: Mapping[str, str], watcher: Watcher) -> int:
    """Run the server until it ends, is told to end (SIGTERM, SIGINT), or no longer answers; return its exit code.

    Raises:
        ToolError: it cannot be started.
        ServerError: it was healthy, and then failed three of the last questions.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        server.terminate()

    try:
        server = subprocess.Popen(argv, env=environ, preexec_fn=_end_with_parent)
    except FileNotFoundError:
        raise ToolError("tritonserver is not on PATH", hint="start it by compose.yaml, or by scripts/up --local") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    said = ""
    while True:
        try:
            code = server.wait(watcher.pause)
        except subprocess.TimeoutExpired:
            problem = "" if stopping else watcher.turn()
            if problem and problem != said:
                log.info("not healthy: %s", problem)
            said = problem
            if watcher.failures >= MOST_FAILURES and not stopping:
                _end(server)
                raise ServerError(f"the server no longer answers: {problem}", hint="it is started again; its log says more") from None
        else:
            return code if code >= 0 else 128 - code


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End a server that is of no use any more: what is in flight there fails anyhow."""
    server.terminate()
    try:
        server.wait(_KILL_AFTER_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _end_with_parent() -> None:
    """In the server's process: a launcher that is killed takes its server along, and leaves its ports free (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Read the settings, check what can be checked, and serve."""
    settings = TritonSettings.from_env(os.environ)
    logging_setup.set_up("triton", settings.name, style=settings.log_format, debug="--debug" in sys.argv)
    folder = demand_published(settings.model_repository_dir, settings.name)
    demand_servable(folder, os.environ)
    verdict = verdict_file(os.environ)
    verdict.unlink(missing_ok=True)
    regions.remove(_regions(settings))
    try:
        environ = environment(folder.parent, settings.http_port, os.environ)
        return serve(arguments(settings, environ), environ, Watcher(settings.http_port, folder, verdict))
    finally:
        regions.remove(_regions(settings))


if __name__ == "__main__":
    stage.run(main, debug="--debug" in sys.argv)
