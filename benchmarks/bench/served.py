"""The server that is measured: the stack that runs, or one of the benchmark's own."""

import contextlib
import http.client
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.bare import ON_CPU, ON_GPU
from benchmarks.bench.breakdown import Counters
from benchmarks.published import Published
from benchmarks.server import serve
from services.core.errors import ContractError, ServerError, ToolError
from services.core.hints import command
from services.core.names import image_name
from services.core.record import BuildRecord

_TIMEOUT_SECONDS = 10
_PROGRAM = "tritonserver"
_ROOT = Path(__file__).resolve().parents[2]
"""Where the Compose files are."""


@dataclass(frozen=True)
class Served:
    """A server that answers for the model; ``process`` is where its processor time is found, None where that is not known."""

    model: str
    http: str
    grpc: str
    process: int | None
    own: bool
    takes_files: bool
    triton: str

    def address(self, protocol: str) -> str:
        """Host and port for ``http`` or ``grpc``."""
        return self.http if protocol == "http" else self.grpc

    def counters(self, name: str) -> Counters:
        """What the server's statistics say of a model now.

        Raises:
            ServerError: it does not say.
        """
        return Counters.of(_demand(self.http, f"/v2/models/{name}/stats"))

    def cpu_seconds(self) -> float | None:
        """Processor time that it has used."""
        return None if self.process is None else machine.tree_seconds(self.process)


@dataclass(frozen=True)
class Addresses:
    """Where a server may run; where it ``must_answer``, none is started in its place."""

    http: str
    grpc: str
    must_answer: bool = False


@contextlib.contextmanager
def served(published: Published, record: BuildRecord, addresses: Addresses, process: int | None) -> Iterator[Served]:
    """The server at these addresses where one answers, else one that runs until the block ends.

    Args:
        published: the model.
        record: how its live version was made.
        addresses: of the stack.
        process: of the stack's server, where it is known.

    Raises:
        ServerError: what answers does not serve the model, or there is no program to serve it with.
        ContractError: another version is served than the live one of the folder, whose answers are known.
    """
    if _get(addresses.http, "/v2") is not None:
        yield _found(published, addresses.http, addresses.grpc, process, own=False)
        return
    hint = f"start the stack: {command('exporter')}"
    if addresses.must_answer:
        raise ServerError(f"no server answers at {addresses.http}", hint="see --url, which is the address for HTTP")
    if record.compiler.name not in (ON_CPU, ON_GPU):
        raise ServerError(f"no server answers at {addresses.http}, and a TensorRT engine needs that of the stack", hint=hint)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, contextlib.ExitStack() as stack:
        repository = Path(scratch) / "repository"
        names = [published.folder.name, image_name(published.folder.name)]
        present = [name for name in names if published.folder.with_name(name).is_dir()]
        for name in present:
            shutil.copytree(published.folder.with_name(name), repository / name)
        try:
            server = stack.enter_context(serve(repository, present[-1]))
        except ToolError as error:
            raise ServerError(f"no server answers at {addresses.http}, and none can be started: {error}", hint=hint) from None
        yield _found(published, server.http, server.grpc, server.process.pid, own=True)


def _found(published: Published, http_address: str, grpc_address: str, process: int | None, *, own: bool) -> Served:
    name = published.config.name
    versions = _demand(http_address, f"/v2/models/{name}").get("versions", [])
    if versions != [published.version.name]:
        raise ContractError(
            f"{http_address} serves {name} version {', '.join(versions)}, {published.folder} has {published.version.name} as the live one",
            hint="measure the stack whose models these are: MODEL_REPOSITORY, or --url",
        )
    server = _demand(http_address, "/v2")
    takes_files = _get(http_address, f"/v2/models/{image_name(name)}") is not None
    known = process is not None and any(_program(folder) == _PROGRAM for folder in machine.tree(process).values())
    triton = f"{server.get('name', '')} {server.get('version', '')}"
    return Served(name, http_address, grpc_address, process if known else None, own, takes_files, triton)


def _program(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return ""


def _get(address: str, path: str) -> dict[str, Any] | None:
    """An answer in JSON; None where there is none."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        found = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return found if response.status == http.client.OK and isinstance(found, dict) else None


def _demand(address: str, path: str) -> dict[str, Any]:
    found = _get(address, path)
    if found is None:
        hint = f"serve it: {command('exporter')}; or stop that server, and one is started here"
        raise ServerError(f"the server at {address} does not answer {path}, expected the published model", hint=hint)
    return found


def process_in_docker() -> int | None:
    """The process of the stack's server, as the machine that Docker runs on counts it; None where there is none."""
    try:
        container = _docker("compose", "ps", "--quiet", "triton")
        return int(_docker("inspect", "--format", "{{.State.Pid}}", container)) or None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], cwd=_ROOT, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
