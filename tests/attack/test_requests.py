"""Malformed requests against a real server, while a good client goes on asking."""

import http.client
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc as grpcio  # type: ignore[import-untyped]
import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.grpc import service_pb2

from services.numerics.golden import load_golden
from tests.attack import requests
from tests.local.stack import Stack

HTTP, GRPC = 1500, 700
EVERY = 0.05
"""Seconds between two questions of the good client."""
_PATIENCE = 10.0


@dataclass
class GoodClient:
    """Asks a known question again and again."""

    stack: Stack
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        golden = load_golden(self.stack.model_folder / "1" / "golden.npz")
        tensor = grpc.InferInput("images", list(golden.inputs[:1].shape), "UINT8")
        tensor.set_data_from_numpy(golden.inputs[:1])
        with grpc.InferenceServerClient(f"127.0.0.1:{self.stack.grpc}") as client:
            while not self.stopping.wait(EVERY):
                started = time.monotonic()
                try:
                    scores = client.infer(self.stack.name, [tensor], client_timeout=_PATIENCE).as_numpy("scores")
                    assert scores is not None
                    np.testing.assert_allclose(scores, golden.scores[:1], atol=0.01)
                except Exception as error:  # whatever it is, a good question got no good answer
                    self.wrong.append(str(error)[:300])
                self.seconds.append(time.monotonic() - started)


def server_memory(stack: Stack) -> int:
    """MiB of the server and its Python models, what they share counted once."""
    pid = stack.supervisor
    assert pid is not None
    parents = {int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1]) for path in Path("/proc").glob("[0-9]*/stat")}
    found, new = {pid}, {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    kib = 0
    for process in found:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib >> 10


def send(stack: Stack, request: requests.Http) -> int:
    """The status; 0 where the server hangs up, or waits for what does not come."""
    with socket.create_connection(("127.0.0.1", stack.http), _PATIENCE) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.sendall(request.content)
            if not request.whole:
                connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
        except (http.client.HTTPException, OSError):
            return 0
        return answer.status


def call(channel: grpcio.Channel, request: requests.Grpc) -> str:
    """The name of the code."""
    try:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request.content, timeout=_PATIENCE)
    except grpcio.RpcError as error:
        return str(error.code().name)
    return "OK"


@pytest.fixture(scope="module")
def attacked(tiny_served: Stack) -> tuple[GoodClient, Counter[str], list[tuple[requests.Http, int]], str]:
    """What came of all requests, and of the good client meanwhile."""
    golden = load_golden(tiny_served.model_folder / "1" / "golden.npz")
    batch = golden.inputs[:1]
    good = service_pb2.ModelInferRequest(model_name=tiny_served.name)
    good.inputs.add(name="images", datatype="UINT8", shape=batch.shape)
    good.raw_input_contents.append(batch.tobytes())
    client = GoodClient(tiny_served)
    asking = threading.Thread(target=client.run)
    asking.start()
    before = server_memory(tiny_served)
    try:
        made = list(requests.http(tiny_served.name, "images", list(batch.shape), batch.tolist(), HTTP))
        with ThreadPoolExecutor(4) as pool, grpcio.insecure_channel(f"127.0.0.1:{tiny_served.grpc}") as channel:
            answers = list(zip(made, pool.map(lambda one: send(tiny_served, one), made), strict=True))
            codes = Counter(pool.map(lambda one: call(channel, one), requests.grpc(good, GRPC)))
        after = server_memory(tiny_served)
        time.sleep(1)
    finally:
        client.stopping.set()
        asking.join()
    return client, codes, answers, f"{before} to {after} MiB"


def test_each_is_refused_and_the_server_lives(attacked, tiny_served: Stack, capsys) -> None:
    client, codes, answers, memory = attacked
    statuses = Counter(status for _, status in answers)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{HTTP} HTTP requests: {dict(sorted(statuses.items()))}; {GRPC} gRPC: {dict(codes)}; server's memory {memory}; "
            f"good client: {len(client.seconds)} answers, {len(client.wrong)} wrong, slowest {max(client.seconds):.2f} s\n"
        )
    assert "starting it again" not in tiny_served.log
    assert [one.content[:300] for one, status in answers if one.whole and status == 0] == []
    assert statuses[200] < HTTP / 4  # most are malformed
    assert not codes.keys() & {"DEADLINE_EXCEEDED"}


def test_a_good_client_gets_right_answers_meanwhile(attacked) -> None:
    client = attacked[0]
    assert client.wrong == []
    assert len(client.seconds) > 50
