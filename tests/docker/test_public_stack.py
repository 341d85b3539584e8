"""``compose.public.yaml`` over the CPU stack: who may ask, what, how much, and what Triton never gets to see."""

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc.auth import BasicAuth
from tritonclient.utils import InferenceServerException

from tests.docker.conftest import CPU_FILES, ROOT, ComposeStack, MakeStack, json_lines
from tests.ports import free_ports

NAME = "efficientnet_lite0"
ASK = f"/v2/models/{NAME}_image/infer"
RAW = {"Inference-Header-Content-Length": "0"}
ESPRESSO = 967
PICTURE = (ROOT / "samples" / "coffee.jpg").read_bytes()
MOST_JSON = 29_999
# Small enough to reach them, and far above what the other tests send at a time.
LIMITS = {"KEY_RATE": "1000", "KEY_BURST": "1000", "KEY_IN_FLIGHT": "3", "SERVER_IN_FLIGHT": "5"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


@dataclass(frozen=True)
class Public:
    """The stack behind its gateway, and how it is asked."""

    stack: ComposeStack
    folder: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.stack.settings['PUBLIC_PORT']}"

    @property
    def certificate(self) -> Path:
        return self.folder / "tls" / "fullchain.pem"

    def keys(self, *words: str) -> str:
        environment = {**os.environ, "KEYS_DIR": str(self.folder / "keys")}
        done = subprocess.run([ROOT / "scripts" / "keys", *words], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.address, timeout=60, context=ssl.create_default_context(cafile=str(self.certificate)))

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, key: str | None) -> Reply:
        connection = self.connect()
        authorization = {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"} if key else {}
        try:
            connection.request(method, path, body, {**(headers or {}), **authorization})
            reply = connection.getresponse()
            return Reply(reply.status, dict(reply.headers), reply.read())
        finally:
            connection.close()

    def grpc(self, key: str | None) -> Any:
        client = triton.InferenceServerClient(self.address, ssl=True, root_certificates=str(self.certificate))
        if key:
            client.register_plugin(BasicAuth(*key.split(":")))
        return client


@pytest.fixture(scope="module")
def public(make_stack: MakeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("tls", "keys"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    # As docs/operations.md says.
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(folder / "tls" / "privkey.pem"), "-out", str(folder / "tls" / "fullchain.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    if os.geteuid() == 0:
        os.chown(folder / "tls" / "privkey.pem", 1000, 1000)
    (port,) = free_ports(1)
    settings = {"TLS_DIR": str(folder / "tls"), "KEYS_DIR": str(folder / "keys"), "PUBLIC_ADDRESS": "127.0.0.1", "PUBLIC_PORT": str(port)}
    with make_stack("public", [*CPU_FILES, "compose.public.yaml"], **settings, **LIMITS) as stack:
        stack.compose("up --build --detach --wait gateway")
        yield Public(stack, folder)


@pytest.fixture(scope="module")
def key(public: Public) -> str:
    """That of one user."""
    return public.keys("add", "alice")


@pytest.fixture(autouse=True)
def the_server_survives(public: Public) -> Iterator[None]:
    yield
    state = public.stack.inspect("triton", "{{.RestartCount}} {{.State.Status}}")
    assert state == "0 running"


def code_of(call: Callable[[], object]) -> str:
    """gRPC's status of a call."""
    try:
        call()
    except InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode.")
    return "OK"


def test_only_the_gateway_is_published(public: Public) -> None:
    assert json.loads(public.stack.inspect("triton", "{{json .HostConfig.PortBindings}}")) in ({}, None)
    (bindings,) = json.loads(public.stack.inspect("gateway", "{{json .HostConfig.PortBindings}}")).values()
    assert [binding["HostPort"] for binding in bindings] == [public.stack.settings["PUBLIC_PORT"]]


def test_a_key_opens_without_a_restart_and_a_revoked_one_no_longer(public: Public) -> None:
    asked = ("GET", f"/v2/models/{NAME}")
    bob = public.keys("add", "bob")
    name, _, secret = bob.partition(":")
    assert public.ask(*asked, key=bob).status == 200
    wrong = public.ask(*asked, key=f"{name}:{secret[:-1]}")
    assert (wrong.status, wrong.headers["Content-Type"]) == (401, "application/json")
    assert "NAME:KEY" in wrong.error
    assert "Basic" in wrong.headers["WWW-Authenticate"]
    assert public.ask(*asked, key=None).status == 401
    renewed = public.keys("add", "bob")
    assert (public.ask(*asked, key=bob).status, public.ask(*asked, key=renewed).status) == (401, 200)
    assert "bob" in public.keys("list").splitlines()
    public.keys("revoke", "bob")
    assert public.ask(*asked, key=renewed).status == 401
    assert secret not in (public.folder / "keys" / "keys").read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{NAME}",
        f"/v2/models/{NAME}/config",
        f"/v2/models/{NAME}/ready",
        f"/v2/models/{NAME}/versions/1/ready",
    ],
)
def test_what_tells_of_the_server_is_open_to_a_key(public: Public, key: str, path: str) -> None:
    assert public.ask("GET", path, key=key).status == 200
    assert public.ask("GET", path, key=None).status == 401
    assert public.ask("POST", path, b"{}", key=key).status == 405


@pytest.mark.parametrize("path", [ASK, f"/v2/models/{NAME}_image/versions/1/infer"])
def test_a_picture_is_classified(public: Public, key: str, path: str) -> None:
    reply = public.ask("POST", path, PICTURE, RAW, key=key)
    assert reply.status == 200
    scores = np.frombuffer(reply.body[int(reply.headers["Inference-Header-Content-Length"]) : -8], np.float32)
    assert scores.argmax() == ESPRESSO


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/v2/models/stats",
        f"/v2/models/{NAME}/stats",
        f"/v2/models/{NAME}/generate",
        f"/v2/models/{NAME}/trace/setting",
        "/v2/models/_internal",
        "/v2/models/_internal/infer",
        "/v2/models/%5finternal/infer",
        "/v2/repository/index",
        f"/v2/repository/models/{NAME}/unload",
        f"/v2/models/{NAME}/../../repository/index",
        f"/v2/models/{NAME}/infer/../../../repository/models/{NAME}/unload",
        f"/v2/models/{NAME}%2f..%2f..%2frepository%2findex",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/trace/setting",
        "/v2/logging",
        f"//v2//models//{NAME}//stats",
    ],
)
def test_nothing_else_is_there(public: Public, key: str, method: str, path: str) -> None:
    reply = public.ask(method, path, b"{}" if method == "POST" else None, key=key)
    assert (reply.status, reply.headers["Server"]) == (404, "nginx")  # and no version
    assert "no such path" in reply.error


def test_triton_sees_the_path_that_was_allowed_and_not_the_one_that_was_written(public: Public, key: str) -> None:
    """By itself it answers this one as a question for the repository, with 403 or 404."""
    assert public.ask("GET", f"/v2/repository/index/../../models/{NAME}/ready?x=1", key=key).status == 200


def test_grpc_lets_questions_through_and_nothing_else(public: Public, key: str) -> None:
    client = public.grpc(key)
    for question in (client.is_server_live, client.is_server_ready, client.get_server_metadata):
        assert code_of(question) == "OK"
    for of_model in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
        assert code_of(partial(of_model, NAME)) == "OK"
    for closed in (
        client.get_model_repository_index,
        client.get_inference_statistics,
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.get_trace_settings,
        client.get_log_settings,
        lambda: client.load_model(NAME),
        lambda: client.unload_model(NAME),
    ):
        assert code_of(closed) == "UNIMPLEMENTED"
    credentials = grpc.ssl_channel_credentials(public.certificate.read_bytes())
    metadata = [("authorization", f"Basic {base64.b64encode(key.encode()).decode()}")]
    with grpc.secure_channel(public.address, credentials) as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([b""]), metadata=metadata)
        with pytest.raises(grpc.RpcError) as refused:
            next(stream)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert code_of(public.grpc(None).is_server_live) == "UNAUTHENTICATED"
    assert code_of(public.grpc(f"{key}x").is_server_live) == "UNAUTHENTICATED"


def grpc_question(picture: bytes) -> Any:
    tensor = triton.InferInput("encoded", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[picture]], np.object_))
    return [tensor]


def test_grpc_classifies_and_bounds_messages(public: Public, key: str) -> None:
    client = public.grpc(key)
    outputs = [triton.InferRequestedOutput("scores", class_count=1)]
    answer = client.infer(f"{NAME}_image", grpc_question(PICTURE), outputs=outputs).as_numpy("scores")
    assert b":967:espresso" in answer[0, 0]
    assert code_of(lambda: client.infer(f"{NAME}_image", grpc_question(PICTURE), compression_algorithm="gzip")) == "UNKNOWN"
    with pytest.raises(InferenceServerException, match="413"):
        client.infer(f"{NAME}_image", grpc_question(bytes(1 << 30)))
    assert code_of(client.is_server_live) == "OK"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x"])
def test_a_compressed_body_is_refused(public: Public, key: str, encoding: str) -> None:
    reply = public.ask("POST", ASK, PICTURE, {**RAW, "Content-Encoding": encoding}, key=key)
    assert reply.status == 415
    assert "compression" in reply.error


def test_a_long_body_is_refused_before_it_is_read(public: Public, key: str) -> None:
    most = 16 << 20
    reply = public.ask("POST", ASK, None, {**RAW, "Content-Length": str(most + 1)}, key=key)
    assert reply.status == 413
    assert str(most) in reply.error
    # As long as it may be, it is for Triton to answer; release 24.10 was seen to end at bodies of this size.
    assert "picture 1 of 1" in public.ask("POST", ASK, b"\xff" * most, RAW, key=key).error
    chunks = (b"\xff" * (1 << 20) for _ in range(17))
    with contextlib.suppress(OSError):  # the gateway closes the connection, which may come before its answer
        assert public.ask("POST", ASK, chunks, RAW, key=key).status == 413


def test_a_million_chunks_are_one_body_to_triton(public: Public, key: str) -> None:
    authorization = base64.b64encode(key.encode()).decode()
    head = f"POST {ASK} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {authorization}\r\nTransfer-Encoding: chunked\r\n"
    head += "Inference-Header-Content-Length: 0\r\nConnection: close\r\n\r\n"
    context = ssl.create_default_context(cafile=str(public.certificate))
    host, _, port = public.address.partition(":")
    with socket.create_connection((host, int(port)), 60) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
        connection.sendall(head.encode() + b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"picture 1 of 1" in answer


NESTED = {
    "lists": lambda depth: b"[" * depth + b"]" * depth,
    "open lists": lambda depth: b"[" * 2 * depth,
    "data": lambda depth: b'{"inputs":[{"name":"encoded","shape":[1,1],"datatype":"BYTES","data":' + b"[" * depth + b"]" * depth + b"}]}",
    "objects": lambda depth: b'{"a":' * (depth // 3) + b"1" + b"}" * (depth // 3),
}


@pytest.mark.parametrize("form", NESTED)
@pytest.mark.parametrize("depth", [100_000, 1_000_000])
def test_json_that_could_be_nested_too_deep_is_refused(public: Public, key: str, form: str, depth: int) -> None:
    body = NESTED[form](depth)
    reply = public.ask("POST", ASK, body, key=key)
    assert reply.status == 413
    assert "send a picture as it is" in reply.error
    assert public.ask("POST", ASK, body, {"Content-Type": "application/octet-stream"}, key=key).status == 413
    assert public.ask("POST", ASK, body, {"Inference-Header-Content-Length": str(len(body))}, key=key).status == 400


@pytest.mark.parametrize("form", NESTED)
def test_triton_survives_what_it_is_given_and_twice_as_much(public: Public, key: str, form: str) -> None:
    body = NESTED[form](MOST_JSON // 2 - 100)[:MOST_JSON]
    assert "error" in json.loads(public.ask("POST", ASK, body, key=key).body)
    head = {"Inference-Header-Content-Length": str(len(body))}
    assert "error" in json.loads(public.ask("POST", ASK, body + b"more", head, key=key).body)
    twice = NESTED[form](MOST_JSON)
    send = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000); "
        f"c.request('POST', '{ASK}', sys.stdin.buffer.read()); print(c.getresponse().status)"
    )
    container = public.stack.compose("ps --quiet triton").strip()
    command = ["docker", "exec", "--interactive", container, "/opt/venv/bin/python", "-c", send]
    assert subprocess.run(command, input=twice, capture_output=True, check=True).stdout.strip() in (b"400", b"500")


@pytest.mark.parametrize("length", ["-1", "x", "30000", "0x10", "1 2", ""])
def test_the_length_of_the_json_is_a_short_number(public: Public, key: str, length: str) -> None:
    reply = public.ask("POST", ASK, PICTURE, {"Inference-Header-Content-Length": length}, key=key)
    # Without a value it is no header, and the picture is JSON.
    assert reply.status == (400 if length else 413)


def test_json_needs_a_length_and_then_passes(public: Public, key: str) -> None:
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1, 1], "data": ["no picture"]}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert "picture 1 of 1" in public.ask("POST", ASK, body, {"Content-Type": "application/json"}, key=key).error
    assert public.ask("POST", ASK, iter([body]), key=key).status == 411


def test_too_many_at_a_time_of_one_key_and_of_all(public: Public, key: str) -> None:
    """Bodies that do not come keep their requests under way."""
    other, third = public.keys("add", "other"), public.keys("add", "third")

    def begun(user: str) -> http.client.HTTPSConnection:
        connection = public.connect()
        connection.putrequest("POST", ASK)
        authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
        for name, value in {**RAW, "Content-Length": "10", "Authorization": authorization}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection

    open_ones = [begun(user) for user in (key, key, key, other, other)]
    try:
        time.sleep(0.5)  # that they have got there
        mine = public.ask("POST", ASK, PICTURE, RAW, key=key)
        theirs = public.ask("POST", ASK, PICTURE, RAW, key=third)
        stranger = public.ask("POST", ASK, PICTURE, RAW, key="alice:wrong")
    finally:
        for connection in open_ones:
            connection.close()
    assert (mine.status, mine.headers["Retry-After"]) == (429, "1")
    assert "this key" in mine.error
    assert (theirs.status, theirs.headers["Retry-After"]) == (503, "1")
    assert "busy" in theirs.error
    assert stranger.status == 401


def test_too_many_in_a_second_of_one_key_alone(public: Public, key: str) -> None:
    public.stack.compose("up --detach --no-deps --wait gateway", KEY_RATE="1", KEY_BURST="2")
    try:
        replies = [public.ask("GET", "/v2", key=key) for _ in range(6)]
        assert [reply.status for reply in replies] == [200, 200, 200, 429, 429, 429]
        assert {reply.headers.get("Retry-After") for reply in replies[3:]} == {"1"}
        assert public.ask("GET", "/v2", key=public.keys("add", "calm")).status == 200
        assert public.ask("GET", "/v2", key="alice:wrong").status == 401
    finally:
        public.stack.compose("up --detach --no-deps --wait gateway")


def test_a_line_a_request_with_the_key_and_without_secrets(public: Public, key: str) -> None:
    public.ask("POST", ASK, PICTURE, RAW, key=key)
    public.ask("GET", "/v2/nowhere?token=private", key="a-key-in-the-wrong-place:x")
    public.ask("GET", "/v2", key="a-key-in-the-wrong-place:x")
    container = public.stack.compose("ps --quiet gateway").strip()
    logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stdout
    *_, asked, nowhere, unknown = json_lines(logs)
    assert (asked["key"], asked["path"], asked["status"], asked["bytes_in"] > len(PICTURE)) == ("alice", ASK, 200, True)
    assert [(line["key"], line["status"]) for line in (nowhere, unknown)] == [("", 404), ("", 401)]
    assert not any(secret in logs for secret in (key.partition(":")[2], "private", "a-key-in-the-wrong-place"))


@pytest.mark.parametrize(("protocol", "option", "scheme"), [("http", "--url", "https"), ("grpc", "--grpc-url", "grpcs")])
def test_the_client_asks_through_the_gateway(public: Public, key: str, tmp_path: Path, protocol: str, option: str, scheme: str) -> None:
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "wrong").write_text(f"{key}x\n")
    trust = {name: str(public.certificate) for name in ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")}

    def client(file: str, *words: str) -> Any:
        command = [sys.executable, "-m", "services.client", "--json", "--protocol", protocol, option, f"{scheme}://{public.address}"]
        command += ["--api-key-file", str(tmp_path / file), *words, str(ROOT / "samples" / "coffee.jpg")]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **trust}, capture_output=True, text=True)

    done = client("key", "--model", NAME)
    assert done.returncode == 0, done.stderr
    assert json_lines(done.stdout)[0]["top"][0]["index"] == ESPRESSO
    for words, said in {
        ("wrong", "--model", NAME): "API_KEY_FILE",
        ("key",): "name one with --model",
        ("key", "--model", "typo", "--wait", "0"): "is not ready, or not there",
    }.items():
        refused = client(*words)
        assert (refused.returncode, said in refused.stderr) == (8, True), refused.stderr


def test_a_gateway_waits_for_a_server_that_is_away(public: Public, key: str) -> None:
    """Last: afterwards the server is another one."""
    public.stack.compose("stop triton")
    try:
        away = public.ask("POST", ASK, PICTURE, RAW, key=key)
        assert (away.status, away.headers["Retry-After"]) == (503, "1")
    finally:
        public.stack.compose("up --detach --no-deps --wait --force-recreate triton")
    assert public.ask("POST", ASK, PICTURE, RAW, key=key).status == 200
