"""Starts tritonserver on the published models: ``python3 -m services.triton.launch``. Standard library only.

The same command runs in NVIDIA's image, in the CPU image and as a local process; what differs comes from the environment.
The options are those of ``src/command_line_parser.cc`` of triton-inference-server/server; all that are always given exist
from 24.10 (the release of the PyPI wheel) to 26.08. Restricted APIs are described in its
``docs/customization_guide/inference_protocols.md``.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.core import log, stage
from services.core.errors import ContractError, SettingsError, ToolError
from services.core.names import served_name

ADMIN_HEADER = "x-admin"
ADMIN_APIS = ("model-repository", "shared-memory", "trace", "logging")


@dataclass(frozen=True)
class Launch:
    """What the server is started with.

    Attributes:
        repository: the model repository.
        listen: address of all three ports.
        exit_timeout: seconds that requests in flight get after SIGTERM. An idle keep-alive connection costs all of them.
        max_request_bytes: largest HTTP body, after decompression; 0 leaves it to the server (24.10 has no such option).
        backends: folder of backends, where it is not the server's default.
        admin_key: opens model control and the other administrative APIs.
    """

    repository: Path
    listen: str
    http_port: int
    grpc_port: int
    metrics_port: int
    exit_timeout: int
    max_request_bytes: int
    backends: str
    admin_key: str = field(repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Launch":
        """Read the settings; an empty variable counts as unset.

        Raises:
            SettingsError: a number is none, or no key file is named.
            ContractError: the key file cannot be read, or holds no key.
        """
        return cls(
            repository=Path(environ.get("MODEL_REPOSITORY_DIR") or "model_repository"),
            listen=environ.get("LISTEN_ADDRESS") or "127.0.0.1",
            http_port=_number(environ, "HTTP_PORT", 8000),
            grpc_port=_number(environ, "GRPC_PORT", 8001),
            metrics_port=_number(environ, "METRICS_PORT", 8002),
            exit_timeout=_number(environ, "EXIT_TIMEOUT_SECONDS", 10),
            max_request_bytes=_number(environ, "MAX_REQUEST_BYTES", 0),
            backends=environ.get("BACKEND_DIRECTORY", ""),
            admin_key=_admin_key(environ.get("ADMIN_KEY_FILE", "")),
        )

    def arguments(self, models: Sequence[str]) -> list[str]:
        """The command line that serves ``models``."""
        restricted = f"{','.join(ADMIN_APIS)}:{ADMIN_HEADER}={self.admin_key}"
        return [
            "tritonserver",
            f"--model-repository={self.repository}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in models),
            # One broken model must not keep the others from being served; health asks for the configured one.
            "--exit-on-error=false",
            "--strict-readiness=true",
            "--disable-auto-complete-config",
            f"--http-address={self.listen}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.listen}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.listen}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={self.exit_timeout}",
            f"--http-restricted-api={restricted}",
            f"--grpc-restricted-protocol={restricted}",
            *([f"--http-max-input-size={self.max_request_bytes}"] if self.max_request_bytes else []),
            *([f"--backend-directory={self.backends}"] if self.backends else []),
        ]


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if text and not text.isdecimal():
        raise SettingsError(f"{name}={text}: expected a whole number", hint=f"correct {name} in .env or in the environment")
    return int(text or default)


def _admin_key(file: str) -> str:
    if not file:
        raise SettingsError(
            "ADMIN_KEY_FILE is not set: the administrative APIs would be open", hint="name the key file that the builder made"
        )
    try:
        key = Path(file).read_text().strip()
    except OSError as error:
        raise ContractError(
            f"cannot read the key of the administrative APIs in {file}: {error.strerror}",
            hint="run the builder first, it makes one: docker compose run --rm builder",
        ) from None
    if not key.isalnum():
        raise ContractError(
            f"{file} holds no key: expected letters and digits", hint="remove it, run the builder, and start the server again"
        )
    return key


def published_models(repository: Path) -> list[str]:
    """Names of the models that were published: a folder with a ``config.pbtxt``."""
    return sorted(config.parent.name for config in repository.glob("*/config.pbtxt"))


def served_models(repository: Path, wanted: str) -> list[str]:
    """Names of all published models.

    Raises:
        ContractError: ``wanted`` is none of them.
    """
    models = published_models(repository)
    if wanted not in models:
        raise ContractError(
            f"model {wanted} is not published in {repository}; found {', '.join(models) or 'no model'}",
            hint="run the builder for it (MODEL, MODEL_NAME): docker compose run --rm builder",
        )
    return models


def main() -> int:
    """Become tritonserver."""
    wanted = served_name(os.environ.get("MODEL") or "resnet50", os.environ.get("MODEL_NAME", ""))
    log.set_up("triton", wanted, style=os.environ.get("LOG_FORMAT") or "text")
    launch = Launch.from_env(os.environ)
    argv = launch.arguments(served_models(launch.repository, wanted))
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - a list, no shell
    except FileNotFoundError:
        raise ToolError("tritonserver is not on PATH", hint="start it by compose.yaml, or by scripts/up --local") from None


if __name__ == "__main__":
    stage.run(main, debug="--debug" in sys.argv)
