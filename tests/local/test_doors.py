"""What every account of the host can reach of a running server, and what it cannot do there."""

import os
import socket
import struct
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from services.core.names import CONTROL
from services.core.published import CONTROL_INPUT, CONTROL_OUTPUT
from services.triton.launch import CLOSED
from tests.local.stack import Stack

NOBODY = 65534
HEADER, VALUE = CLOSED.split("=")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another account")


def pid_of(stack: Stack) -> int:
    """Of the server itself."""
    option = f"--http-port={stack.http}".encode()
    return next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"tritonserver") and option in path.read_bytes().split(b"\0")
    )


def control(stack: Stack, name: str) -> str:
    asked = grpc.InferInput(CONTROL_INPUT, [1], "BYTES")
    asked.set_data_from_numpy(np.array([name.encode()], np.object_))
    with grpc.InferenceServerClient(f"127.0.0.1:{stack.grpc}") as client:
        answer = client.infer(CONTROL, [asked]).as_numpy(CONTROL_OUTPUT)
    assert answer is not None
    return str(answer[0].decode())


def is_ready(stack: Stack, name: str = "") -> bool:
    with grpc.InferenceServerClient(f"127.0.0.1:{stack.grpc}") as client:
        return bool(client.is_model_ready(name or stack.name))


def test_administration_is_closed(tiny_served: Stack) -> None:
    for path in (
        f"/v2/repository/models/{tiny_served.name}/unload",
        "/v2/repository/index",
        "/v2/logging",
        "/v2/systemsharedmemory/status",
    ):
        request = urllib.request.Request(tiny_served.url + path, data=None if "status" in path or "logging" in path else b"{}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 403, path
        refused.value.close()
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny_served.grpc}") as client:
        for call in (client.get_model_repository_index, client.get_log_settings, client.get_system_shared_memory_status):
            with pytest.raises(InferenceServerException, match="restricted"):
                call()


@as_root
def test_a_header_that_cannot_be_sent_opens_nothing(tiny_served: Stack) -> None:
    """Another account reads the command line, and sends whatever comes near to what it says there.

    Not so the key of model control over HTTP, which release 24.10 has to have (docs/decisions/0010-no-administrative-key.md).
    """
    command = ["cat", f"/proc/{pid_of(tiny_served)}/cmdline"]
    told = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True).stdout
    assert f"model-repository,shared-memory,trace,logging:{HEADER}={VALUE}".encode() in told
    names = [HEADER, HEADER.replace(" ", "-"), HEADER.replace(" ", "\t"), HEADER.replace(" ", "%20"), f'"{HEADER}"', HEADER.title()]
    values = [VALUE, "", "\n", "\r", " \r\n ", "%0D%0A", "\\r\\n", "\x00"]
    for name in names:
        for value in values:
            assert b" 200 " not in over_http(tiny_served, f"{name}: {value}")
            assert b" 200 " not in over_http(tiny_served, f"{name}:{value}\r\n {value}")
            unload_over_grpc(tiny_served, f"triton-grpc-protocol-{name}", value)
    assert is_ready(tiny_served)


def over_http(stack: Stack, header: str) -> bytes:
    """The first line of the answer to an unload; empty where the server hangs up."""
    lines = [f"POST /v2/repository/models/{stack.name}/unload HTTP/1.1", "Host: a", header, "Content-Length: 2", "", "{}"]
    with socket.create_connection(("127.0.0.1", stack.http), 10) as connection:
        connection.settimeout(1)
        connection.sendall("\r\n".join(lines).encode())
        try:
            return connection.recv(4096).partition(b"\r\n")[0]
        except (TimeoutError, ConnectionError):
            return b""


def unload_over_grpc(stack: Stack, name: str, value: str) -> None:
    message = b"\x12" + bytes([len(stack.name)]) + stack.name.encode()  # RepositoryModelUnloadRequest.model_name
    by_hand(stack, "/inference.GRPCInferenceService/RepositoryModelUnload", message, (name, value))


def by_hand(stack: Stack, path: str, message: bytes, *headers: tuple[str, str]) -> bytes:
    """A gRPC call in bytes of our own (RFC 9113, RFC 7541), for no client sends such headers; what comes back within half a second."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def literal(name: str, value: str) -> bytes:
        return b"\0" + b"".join(bytes([len(part)]) + part for part in (name.encode(), value.encode()))

    common = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
    block = b"".join(literal(*pair) for pair in [*common, ("content-type", "application/grpc"), ("te", "trailers"), *headers])
    data = b"\0" + struct.pack(">I", len(message)) + message
    with socket.create_connection(("127.0.0.1", stack.grpc), 10) as connection:
        connection.settimeout(0.5)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, data))
        found = b""
        try:
            while part := connection.recv(65536):
                found += part
        except (TimeoutError, ConnectionError):
            pass
        return found


def test_the_calls_by_hand_are_calls(tiny_served: Stack) -> None:
    live = b"\0" + struct.pack(">I", 2) + b"\x08\x01"  # ServerLiveResponse.live
    assert live in by_hand(tiny_served, "/inference.GRPCInferenceService/ServerLive", b"")


def test_whoever_asks_for_it_gets_only_what_is_published(tiny_served: Stack) -> None:
    control(tiny_served, tiny_served.name)
    assert [control(tiny_served, name) for name in (tiny_served.name, "nothing", f"trial-a.{tiny_served.name}")] == ["unchanged"] * 3
    for name in ("../repository/m", CONTROL, "", f"{tiny_served.name}/1", "\N{GREEK SMALL LETTER MU}", "/etc", ".", "a" * 5000 + "/"):
        with pytest.raises(InferenceServerException, match="expected the name of a published model"):
            control(tiny_served, name)
    assert is_ready(tiny_served)


def test_a_repository_that_is_away_takes_nothing_out_of_service(tiny_served: Stack) -> None:
    folder, away = tiny_served.model_folder, tiny_served.model_folder.with_name("away")
    folder.rename(away)
    try:
        assert control(tiny_served, tiny_served.name) == "unchanged"
        assert is_ready(tiny_served)
    finally:
        away.rename(folder)


@as_root
def test_the_pixels_of_others_are_not_readable(tiny_served: Stack) -> None:
    """The regions in shared memory through which the server and its Python models talk."""
    maps = Path(f"/proc/{pid_of(tiny_served)}/maps").read_text().splitlines()
    regions = {line.split()[-1] for line in maps if "/dev/shm/" in line}
    assert regions
    for region in regions:
        tried = subprocess.run(["cat", region], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
        assert b"Permission denied" in tried.stderr, region
