"""A closed loop of clients: each sends a question, waits for the answer, checks it, and sends the next.

Every client is a process of its own, so none waits for another's interpreter lock. The request is made once and sent as bytes; what a
client costs is measured and reported with the rest (``client_cpu_ms``). Requests follow the KServe V2 protocol with binary tensors.
"""

import http.client
import json
import math
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, Self

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
_WARM_UP, _LEAD_SECONDS = 5, 0.05


class Client(Protocol):
    """One connection that asks one question."""

    def exchange(self) -> bytes:
        """Send the request and return the response, whole."""

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""

    def close(self) -> None:
        """Close the connection."""


class HttpClient:
    """The question over HTTP, one keep-alive connection."""

    def __init__(self, address: str, question: Question) -> None:
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
        self._path = f"/v2/models/{question.model}/infer"
        self._headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
        self._body = text + question.data
        self._address = address
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        self._head_length = 0

    def exchange(self) -> bytes:
        """Send the request and return the body of the response.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        try:
            self._connection.request("POST", self._path, self._body, self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{self._address} does not answer over HTTP: {error}") from None
        if response.status != http.client.OK:
            raise ServerError(f"{self._address}{self._path} refused a golden question: {body[:500].decode(errors='replace')}")
        self._head_length = int(response.headers["Inference-Header-Content-Length"])
        return body

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""
        return response[self._head_length :]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class GrpcClient:
    """The question over gRPC, one channel; request and response stay bytes while the clock runs."""

    def __init__(self, address: str, question: Question) -> None:
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name=question.input, datatype=question.dtype, shape=question.shape)
        request = service_pb2.ModelInferRequest(
            model_name=question.model,
            inputs=[tensor],
            outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=question.output)],
            raw_input_contents=[question.data],
        )
        self._request = request.SerializeToString()
        self._address = address
        # A subchannel pool of its own: else the clients of one process would share a connection.
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

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
        scores: bytes = service_pb2.ModelInferResponse.FromString(response).raw_output_contents[0]
        return scores

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def connect(protocol: str, address: str, question: Question) -> Client:
    """A client for a protocol of ``PROTOCOLS``."""
    return HttpClient(address, question) if protocol == "http" else GrpcClient(address, question)


def closed_loop(client: Client, question: Question, *, seconds: float = math.inf, requests: float = math.inf) -> list[float]:
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


def stalls(times: Sequence[float] | npt.NDArray[np.float64]) -> int:
    """How many of these seconds are more than ``STALL_SECONDS`` above their median."""
    return int(np.sum(np.asarray(times) > np.median(times) + STALL_SECONDS))


@dataclass(frozen=True)
class _Task:
    protocol: str
    address: str
    question: Question
    seconds: float
    requests: float


def _client_process(pipe: "Connection[Any, Any]") -> None:
    """Get ready for a task, say so, wait for the start, run it, send what was seen; again and again until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    try:
        while True:
            task: _Task = pipe.recv()
            try:
                client = connect(task.protocol, task.address, task.question)
                closed_loop(client, task.question, requests=_WARM_UP)
                pipe.send(None)
                time.sleep(max(0.0, pipe.recv() - time.monotonic()))
                cpu, start = time.process_time(), time.monotonic()
                times = closed_loop(client, task.question, seconds=task.seconds, requests=task.requests)
                pipe.send((times, start, time.monotonic(), time.process_time() - cpu))
                client.close()
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
        self, protocol: str, address: str, questions: Sequence[Question], *, seconds: float = math.inf, requests: float = math.inf
    ) -> Load:
        """Run one client for each question, all at once: for ``seconds``, or until together they have asked ``requests`` times.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            AccuracyError: an answer is wrong.
            ToolError: a client process ended.
        """
        pipes = self._pipes[: len(questions)]
        for pipe, question in zip(pipes, questions, strict=True):
            pipe.send(_Task(protocol, address, question, seconds, requests / len(questions)))
        self._receive(pipes)
        for pipe in pipes:
            pipe.send(time.monotonic() + _LEAD_SECONDS)
        seen = self._receive(pipes)
        times, starts, ends, cpu = zip(*seen, strict=True)
        return Load(np.sort(np.concatenate(times)), max(ends) - min(starts), sum(cpu))

    def _receive(self, pipes: Sequence["Connection[Any, Any]"]) -> list[Any]:
        try:
            received = [pipe.recv() for pipe in pipes]
        except EOFError:
            raise ToolError("a client process ended by itself", hint="see its error above") from None
        for one in received:
            if isinstance(one, StackError):
                raise one
        return received
