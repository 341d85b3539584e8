"""A closed loop of clients: each sends a question, waits for the answer, checks it, and sends the next.

Every client is a process of its own, so none waits for another's interpreter lock. The request is made once and sent as bytes; what a
client costs is measured and reported with the rest (``client_cpu_ms``). Requests follow the KServe V2 protocol with binary tensors.
"""

import base64
import contextlib
import http.client
import json
import math
import multiprocessing
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from benchmarks.published import Question
from services.core.errors import ServerError, StackError, ToolError

STALL_SECONDS = 0.3
"""A request that takes longer than the median and this is a stall."""
TIMEOUT_SECONDS = 60
PROTOCOLS = ("http", "grpc")
WARM_UP = 5
"""Requests that a client asks before its measurement."""
GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
HEAD_LENGTH = "Inference-Header-Content-Length"
"""How much of an HTTP body is JSON; the tensors come behind it."""
_LEAD_SECONDS = 0.05


class Client(Protocol):
    """One connection that asks one question."""

    def exchange(self) -> bytes:
        """Send the request and return the response, whole."""

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""

    def close(self) -> None:
        """Close the connection."""


class Checked(Protocol):
    """A question that knows its answer."""

    def check(self, answer: bytes) -> None:
        """Compare what a client's ``answer`` gave; raises ``AccuracyError`` where it is wrong."""


Connect = Callable[[str, Any], Client]
"""Makes the client of an address and a question; a function or an object that can be sent to a process."""


class HttpRequest(NamedTuple):
    """A question as it is sent over HTTP, by POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, question: Question) -> Self:
        """Make it."""
        head = {
            "inputs": [
                {
                    "name": question.input,
                    "datatype": question.dtype,
                    "shape": question.shape,
                    "parameters": {"binary_data_size": len(question.data)},
                }
            ],
            "outputs": [{"name": question.output, "parameters": {"binary_data": True}}],
        }
        text = json.dumps(head).encode()
        headers = {HEAD_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
        return cls(f"/v2/models/{question.model}/infer", headers, text + question.data)


def grpc_request(question: Question) -> bytes:
    """A question as it is sent over gRPC, to ``GRPC_METHOD``."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name=question.input, datatype=question.dtype, shape=question.shape)
    request = service_pb2.ModelInferRequest(
        model_name=question.model,
        inputs=[tensor],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=question.output)],
        raw_input_contents=[question.data],
    )
    data: bytes = request.SerializeToString()
    return data


def grpc_scores(response: bytes) -> bytes:
    """The scores in a response of ``GRPC_METHOD``, FP32."""
    scores: bytes = service_pb2.ModelInferResponse.FromString(response).raw_output_contents[0]
    return scores


class HttpClient:
    """The question over HTTP, one keep-alive connection."""

    def __init__(self, address: str, question: Question, *, tls: ssl.SSLContext | None = None, key: str = "") -> None:
        """Nothing is sent yet.

        Args:
            address: ``host:port``.
            question: what is asked.
            tls: encrypts the connection.
            key: ``NAME:KEY`` for a gateway.
        """
        self._path, self._headers, self._body = HttpRequest.of(question)
        if key:
            self._headers["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"
        self._address = address
        self._connection = (
            http.client.HTTPSConnection(address, timeout=TIMEOUT_SECONDS, context=tls)
            if tls
            else http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        )
        self._head_length = 0

    def exchange(self) -> bytes:
        """Send the request and return the body of the response.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        status, body = self.attempt()
        if status != http.client.OK:
            raise ServerError(f"{self._address}{self._path} refused a golden question: {body[:500].decode(errors='replace')}")
        return body

    def attempt(self) -> tuple[int, bytes]:
        """Send the request and return status and body of the response, which may be a refusal.

        Raises:
            ServerError: the server cannot be reached.
        """
        try:
            self._connection.request("POST", self._path, self._body, self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{self._address} does not answer over HTTP: {error}") from None
        self._head_length = int(response.headers.get(HEAD_LENGTH, 0))
        return response.status, body

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""
        return response[self._head_length :]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class GrpcClient:
    """The question over gRPC, one channel; request and response stay bytes while the clock runs."""

    def __init__(self, address: str, question: Question) -> None:
        self._request = grpc_request(question)
        self._address = address
        # A subchannel pool of its own: else the clients of one process would share a connection.
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(GRPC_METHOD)

    def exchange(self) -> bytes:
        """Send the request and return the response.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        try:
            response: bytes = self._call(self._request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise ServerError(f"{self._address} refused a golden question over gRPC: {error.code().name}: {error.details()}") from None
        return response

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""
        return grpc_scores(response)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def connect(protocol: str | Connect, address: str, question: Any) -> Client:
    """A client for a protocol of ``PROTOCOLS``, or one of the caller's own."""
    if callable(protocol):
        return protocol(address, question)
    return HttpClient(address, question) if protocol == "http" else GrpcClient(address, question)


def closed_loop(client: Client, question: Checked, *, seconds: float = math.inf, requests: float = math.inf) -> list[float]:
    """Ask until the time is over or so many requests are answered; the seconds that each took.

    Raises:
        ServerError: the server cannot be reached, or refuses.
        AccuracyError: an answer is wrong.
    """
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < requests and time.monotonic() < end:
        start = time.perf_counter()
        response = client.exchange()
        times.append(time.perf_counter() - start)
        question.check(client.answer(response))
    return times


@dataclass(frozen=True)
class Load:
    """What a number of clients saw together in one window of ``seconds``; times are in seconds, ascending."""

    times: npt.NDArray[np.float64]
    seconds: float
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.times) / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the requests took at most."""
        return float(np.percentile(self.times, percent))

    @property
    def stalls(self) -> int:
        """How many requests took more than ``STALL_SECONDS`` above the median."""
        return stalls(self.times)


def repeat(work: Callable[[], object], seconds: float) -> Load:
    """Do it again and again in this process until the time is over; each run counts once."""
    times: list[float] = []
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return Load(np.sort(times), time.monotonic() - start, 0.0)


def stalls(times: Sequence[float] | npt.NDArray[np.float64]) -> int:
    """How many of these seconds are more than ``STALL_SECONDS`` above their median."""
    return int(np.sum(np.asarray(times) > np.median(times) + STALL_SECONDS))


class Measurement(Protocol):
    """What a client process does when all are ready."""

    def run(self, start: float) -> Any:
        """Measure from ``start`` on, which is now (``time.monotonic()``), and return what was seen.

        Raises:
            StackError: whatever ends the measurement.
        """

    def close(self) -> None:
        """Close the connections."""


class Task(Protocol):
    """What a client process is told to do; it is pickled."""

    def ready(self) -> Measurement:
        """Connect and warm up.

        Raises:
            StackError: whatever prevents it.
        """


class Seen(NamedTuple):
    """What one client process saw, and when it began and ended (``time.monotonic()``)."""

    result: Any
    start: float
    end: float
    cpu_seconds: float


@dataclass(frozen=True)
class ClosedLoop:
    """One client of a closed loop."""

    protocol: str | Connect
    address: str
    question: Checked
    seconds: float = math.inf
    requests: float = math.inf
    warm_up: int = WARM_UP

    def ready(self) -> Measurement:
        """See ``Task``."""
        client = connect(self.protocol, self.address, self.question)
        closed_loop(client, self.question, requests=self.warm_up)
        return _Asking(self, client)


@dataclass(frozen=True)
class _Asking:
    task: ClosedLoop
    client: Client

    def run(self, start: float) -> list[float]:  # noqa: ARG002 - the next request is due when there is an answer
        return closed_loop(self.client, self.task.question, seconds=self.task.seconds, requests=self.task.requests)

    def close(self) -> None:
        self.client.close()


def _client_process(pipe: "Connection[Any, Any]") -> None:
    """Get ready for a task, say so, wait for the start, run it, send what was seen; again and again until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    try:
        while True:
            task: Task = pipe.recv()
            try:
                with contextlib.closing(task.ready()) as measurement:
                    pipe.send(None)
                    start = pipe.recv()
                    time.sleep(max(0.0, start - time.monotonic()))
                    cpu, begun = time.process_time(), time.monotonic()
                    result = measurement.run(start)
                    pipe.send(Seen(result, begun, time.monotonic(), time.process_time() - cpu))
            except StackError as error:
                pipe.send(error)
    except (EOFError, BrokenPipeError):
        pass


class Clients:
    """Up to ``number`` client processes, kept from one measurement to the next; leave by ``with``."""

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection[Any, Any]] = []
        self._processes: list[SpawnProcess] = []
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_client_process, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        self._receive(self._pipes)  # started and imported, so that they take no time from a measurement
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()

    def measure(
        self,
        protocol: str | Connect,
        address: str,
        questions: Sequence[Checked],
        *,
        seconds: float = math.inf,
        requests: float = math.inf,
        warm_up: int = WARM_UP,
        at_start: Callable[[], None] = lambda: None,
    ) -> Load:
        """Run one client for each question, all at once: for ``seconds``, or until together they have asked ``requests`` times.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            AccuracyError: an answer is wrong.
            ToolError: a client process ended.
        """
        seen = self.together(
            [ClosedLoop(protocol, address, question, seconds, requests / len(questions), warm_up) for question in questions], at_start
        )
        times = np.sort(np.concatenate([one.result for one in seen]))
        return Load(times, max(one.end for one in seen) - min(one.start for one in seen), sum(one.cpu_seconds for one in seen))

    def together(self, tasks: Sequence[Task], at_start: Callable[[], None] = lambda: None) -> list[Seen]:
        """Run each task in a process of its own; all start at one moment, and just before it ``at_start`` is called.

        Raises:
            StackError: what ended a task.
            ToolError: a client process ended.
        """
        pipes = self._pipes[: len(tasks)]
        for pipe, task in zip(pipes, tasks, strict=True):
            pipe.send(task)
        self._receive(pipes)
        at_start()
        start = time.monotonic() + _LEAD_SECONDS
        for pipe in pipes:
            pipe.send(start)
        return self._receive(pipes)

    def _receive(self, pipes: Sequence["Connection[Any, Any]"]) -> list[Any]:
        try:
            received = [pipe.recv() for pipe in pipes]
        except EOFError:
            raise ToolError("a client process ended by itself", hint="see its error above") from None
        for one in received:
            if isinstance(one, StackError):
                raise one
        return received
