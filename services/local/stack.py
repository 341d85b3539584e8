"""The stages as processes of this machine, and one server: the user's (``scripts/up --local``) and those of the tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from services.core.errors import ServerError
from services.core.files import write_atomically
from services.core.names import served_name
from services.local import processes

DEFAULT_MODEL = "efficientnet_lite0"
PORTS = {"HTTP_PORT": "8000", "GRPC_PORT": "8001", "METRICS_PORT": "8002"}
_SUPERVISOR = "services.local.supervise"
_TAIL = 20


@dataclass(frozen=True)
class Folders:
    """Where a stack lives.

    Attributes:
        code: the checkout.
        work: the stages' working folder; relative paths of the settings start here.
        modules: where the modules of a ``py:`` model lie.
        artifacts: exported models; from ``work``, where it is relative.
        repository: Triton's model repository; the same.
        state: what runs, its log, and the key of its administrative APIs.
    """

    code: Path
    work: Path
    modules: Path
    artifacts: Path
    repository: Path
    state: Path

    @classmethod
    def of_checkout(cls, code: Path, settings: Mapping[str, str]) -> "Folders":
        """Those of the user's stack; ``MODEL_REPOSITORY`` names another repository."""
        repository = Path(settings.get("MODEL_REPOSITORY") or "model_repository").expanduser()
        return cls(code, code, code / "models", Path("artifacts"), repository, code / ".stack")


def triton_folder() -> Path:
    """Where the nvidia-pytriton wheel has its server.

    Raises:
        ServerError: it is not installed.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError("this Python has no Triton server", hint="scripts/up --local installs it (requirements/local.lock)")
    return Path(spec.origin).parent / "tritonserver"


class Stack:
    """One model, one repository, one server.

    Args:
        folders: where it lives.
        settings: of ``.env`` and the shell; other variables are handed on to the stages as they are.
        fixed: what this launcher would set, set otherwise.
    """

    def __init__(self, folders: Folders, settings: Mapping[str, str], fixed: Mapping[str, str] | None = None) -> None:
        self.folders = folders
        ports = {name: settings.get(name) or default for name, default in PORTS.items()}
        self.settings: dict[str, str] = {
            **settings,
            **ports,
            "LAUNCHER": "local",
            "MODEL": settings.get("MODEL") or DEFAULT_MODEL,
            "ACCELERATOR": "onnxruntime",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts, which the builder asks
            "ARTIFACTS_DIR": str(folders.artifacts),
            "MODEL_REPOSITORY_DIR": str(folders.repository),
            "TORCH_HOME": str(folders.work / folders.artifacts / ".torch"),
            "LISTEN_ADDRESS": "127.0.0.1",
            "TRITON_URL": f"127.0.0.1:{ports['HTTP_PORT']}",
            "TRITON_GRPC_URL": f"127.0.0.1:{ports['GRPC_PORT']}",
            "MAX_REQUEST_BYTES": "",  # release 24.10 has no such option
            "PYTHONPATH": os.pathsep.join(map(str, (folders.code, folders.modules))),
            **(fixed or {}),
        }

    @property
    def name(self) -> str:
        """The name the model is served under."""
        return served_name(self.settings["MODEL"], self.settings.get("MODEL_NAME", ""))

    @property
    def log_file(self) -> Path:
        """What the server and its supervisor say."""
        return self.folders.state / "triton.log"

    @property
    def _shown_log(self) -> str:
        return os.path.relpath(self.log_file, self.folders.work)

    @property
    def _record(self) -> Path:
        return self.folders.state / "server.json"

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of a stage's process."""
        return self.settings | changes

    def command(self, stage: str, *arguments: str) -> list[str]:
        """The command line of a stage."""
        return [sys.executable, "-m", f"services.{stage}", *arguments]

    def run_stage(self, stage: str, *arguments: str, folder: Path | None = None, without: tuple[str, ...] = ()) -> int:
        """Run a stage to its end and return its exit code.

        Args:
            stage: ``exporter``, ``builder`` or ``client``.
            arguments: of its command line.
            folder: where it runs; ``folders.work`` where not given.
            without: settings that it is not given.
        """
        work = self.folders.work
        absolute = {"MODEL_REPOSITORY_DIR": str(work / self.folders.repository), "ARTIFACTS_DIR": str(work / self.folders.artifacts)}
        environment = {key: value for key, value in self.environment(**(absolute if folder else {})).items() if key not in without}
        return processes.run(self.command(stage, *arguments), environment, folder or self.folders.work)

    @property
    def supervisor(self) -> int | None:
        """The process that keeps the server running; None where none does."""
        pid = self._recorded().get("pid")
        return pid if isinstance(pid, int) and processes.runs(pid, _SUPERVISOR) else None

    def demand_what_runs(self) -> None:
        """See that the server that runs is the one that the settings describe.

        Raises:
            ServerError: it has other ports or another repository.
        """
        found, asked = self._recorded(), self._place()
        other = [f"{key}={found.get(key)}, asked for {value}" for key, value in asked.items() if found.get(key) != value]
        if other:
            raise ServerError(f"the server runs with {'; '.join(other)}", hint="stop it first: scripts/down")

    def demand_free_ports(self) -> None:
        """See that nobody listens where the server would.

        Raises:
            ServerError: somebody does.
        """
        for name in PORTS:
            port = self.settings[name]
            if processes.listens(int(port)):
                hint = f"stop what listens there (ss -ltnp 'sport = :{port}'), or set {name} to another port in .env"
                raise ServerError(f"port {port} is taken ({name})", hint=hint)

    def start_server(self, **changes: str) -> subprocess.Popen[bytes]:
        """Start the server under its supervisor; both go on when this process ends."""
        triton, state = triton_folder(), self.folders.state
        state.mkdir(parents=True, exist_ok=True)
        # The Python backend hands paths to a shell unquoted; these have no blanks, whatever the folders are called.
        links = {
            "repository": self.folders.work / self.folders.repository,
            "backends": Path(self.settings.get("BACKEND_DIRECTORY") or triton / "backends"),
            "control": self.folders.code / "services" / "triton" / "repository",
        }
        for name, target in links.items():
            (state / name).unlink(missing_ok=True)
            (state / name).symlink_to(target.absolute())
        environment = self._server_environment(**changes)
        # A backend that is loaded through a link does not find the libraries beside it.
        libraries = [str(triton.parents[1] / "nvidia_pytriton.libs"), environment.get("LD_LIBRARY_PATH", "")]
        environment |= {
            "MODEL_REPOSITORY_DIR": "repository",
            "BACKEND_DIRECTORY": "backends",
            "CONTROL_DIRECTORY": "control",
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
            "PATH": os.pathsep.join([str(triton / "bin"), str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log_file.open("wb") as log:
            server = subprocess.Popen(
                self.command("local.supervise"),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=state,
                start_new_session=True,
            )
        write_atomically(self._record, json.dumps({"pid": server.pid, **self._place()}, indent=2) + "\n")
        return server

    def wait_until_healthy(self, seconds: float, say: Callable[[str], object]) -> None:
        """Wait for the server that was started.

        Args:
            seconds: how long.
            say: told every few seconds what is still missing.

        Raises:
            ServerError: it ended, or is not healthy in time; with the last lines of its log.
        """
        started = said = time.monotonic()
        environment = self._server_environment()
        while True:
            running = self.supervisor is not None
            check = subprocess.run(
                self.command("triton.healthcheck"), env=environment, cwd=self.folders.state, capture_output=True, text=True, check=False
            )
            if running and check.returncode == 0:
                return
            why, now = (check.stdout or check.stderr).strip(), time.monotonic()
            if not running:
                raise ServerError(f"the server ended\n{self.last_lines()}", hint=f"see {self._shown_log}")
            if now - started >= seconds:
                hint = f"see {self._shown_log}, or set WAIT_SECONDS higher"
                raise ServerError(f"the server did not get healthy within {seconds:g} s: {why}\n{self.last_lines()}", hint=hint)
            if now - said >= processes.TELL_SECONDS:
                said = now
                say(why)
            time.sleep(0.2)

    def stop(self) -> bool:
        """Stop the server; requests in flight get their time. False where none runs."""
        pid = self.supervisor
        if pid is not None:
            processes.stop(pid, _SUPERVISOR, seconds=float(self.settings.get("EXIT_TIMEOUT_SECONDS") or 10) + 2 * processes.GRACE_SECONDS)
        self._record.unlink(missing_ok=True)
        return pid is not None

    def last_lines(self) -> str:
        """The end of the server's log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_TAIL:]) if self.log_file.exists() else ""

    def _place(self) -> dict[str, str]:
        return {**{name: self.settings[name] for name in PORTS}, "MODEL_REPOSITORY": str(self.folders.work / self.folders.repository)}

    def _recorded(self) -> dict[str, Any]:
        try:
            found = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _server_environment(self, **changes: str) -> dict[str, str]:
        """Launch and health check meet in the temporary folder."""
        return self.environment(TMPDIR=str(self.folders.state), **changes)
