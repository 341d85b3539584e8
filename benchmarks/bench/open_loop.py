"""An open loop: requests are sent at a given rate, whether or not those before have an answer.

A closed loop waits with its next request for as long as the server is slow, and so asks least where it is slowest (coordinated omission).
Here a request is due at a moment of its own, and its time counts from then on: what it waits in the generator because others are not done
is a part of it. Requests are independent of one another, as those of many users are (Poisson arrivals).

The generator is an event loop in a process of its own; where there are cores, several share the rate. Its requests are bytes made
beforehand, and HTTP is spoken by hand: on few cores what a request costs its client is taken from the server.
"""

import asyncio
import math
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from benchmarks.bench.rates import schedule
from benchmarks.load import GRPC_METHOD, HEAD_LENGTH, TIMEOUT_SECONDS, WARM_UP, Clients, HttpRequest, Load, grpc_request, grpc_scores
from benchmarks.machine import cores
from benchmarks.published import Question
from services.core.errors import ServerError

MOST_CONNECTIONS = 256
"""Of each process over HTTP; a request that finds none free waits for one, and its time runs."""
_CHANNELS = 8
_OVERLOADED = "503"
SATURATED = 0.05
"""Where latency grows by more than this share of the time that passes, the server does not keep up."""


class AsyncClient(Protocol):
    """Connections that ask one question, any number at a time."""

    async def exchange(self) -> bytes:
        """Send the request and return the response; b"" where the server says that it is overloaded."""

    def answer(self, response: bytes) -> bytes:
        """The scores in a response, FP32."""

    async def close(self) -> None:
        """Close the connections."""


class _Http:
    def __init__(self, address: str, question: Question) -> None:
        path, headers, body = HttpRequest.of(question)
        lines = [f"POST {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body
        self._host, _, self._port = address.rpartition(":")
        self._address = address
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._opened: list[asyncio.StreamWriter] = []
        self._free = asyncio.Semaphore(MOST_CONNECTIONS)
        self._head_length = 0

    async def exchange(self) -> bytes:
        async with self._free:
            try:
                reader, writer = self._idle.pop() if self._idle else await self._open()
                writer.write(self._request)
                status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(int(headers.get("content-length", 0)))
            except (OSError, EOFError, ValueError) as error:
                raise ServerError(f"{self._address} does not answer over HTTP: {error}") from None
            self._idle.append((reader, writer))
        if status == _OVERLOADED:
            return b""
        if status != "200":
            raise ServerError(f"{self._address} refused a golden question: {body[:500].decode(errors='replace')}")
        self._head_length = int(headers[HEAD_LENGTH.lower()])
        return body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._opened.append(writer)
        return reader, writer

    def answer(self, response: bytes) -> bytes:
        return response[self._head_length :]

    async def close(self) -> None:
        for writer in self._opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._opened), return_exceptions=True)


def _head(text: bytes) -> tuple[str, dict[str, str]]:
    """Status and headers, with their names in lower case, of an HTTP response."""
    first, *lines = text.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


class _Grpc:
    def __init__(self, address: str, question: Question) -> None:
        self._request = grpc_request(question)
        self._address = address
        # A subchannel pool of its own each: else they would share a connection.
        self._channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(_CHANNELS)]
        self._calls = [channel.unary_unary(GRPC_METHOD) for channel in self._channels]
        self._turn = 0

    async def exchange(self) -> bytes:
        self._turn += 1
        try:
            response: bytes = await self._calls[self._turn % _CHANNELS](self._request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return b""
            raise ServerError(f"{self._address} refused a golden question over gRPC: {error.code().name}: {error.details()}") from None
        return response

    def answer(self, response: bytes) -> bytes:
        return grpc_scores(response)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


class Asked(NamedTuple):
    """What one generator saw, an entry a request: seconds from when it was due to its answer (NaN: refused), and to its sending."""

    times: npt.NDArray[np.float64]
    late: npt.NDArray[np.float64]


@dataclass(frozen=True)
class OpenLoop:
    """One generator; see ``load.Task``."""

    protocol: str
    address: str
    question: Question
    due: npt.NDArray[np.float64]

    def ready(self) -> "_Generator":
        """Connect and warm up."""
        return _Generator(self)


class _Generator:
    def __init__(self, task: OpenLoop) -> None:
        self._task = task
        # epoll sleeps whole milliseconds, select to the microsecond.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        try:
            self._client: AsyncClient = self._loop.run_until_complete(self._connect())
        except BaseException:
            self._loop.close()
            raise

    async def _connect(self) -> AsyncClient:
        made: AsyncClient = (_Http if self._task.protocol == "http" else _Grpc)(self._task.address, self._task.question)
        for _ in range(WARM_UP):
            await made.exchange()
        return made

    def run(self, start: float) -> Asked:
        return self._loop.run_until_complete(self._run(start))

    async def _run(self, start: float) -> Asked:
        times, late = np.full((2, len(self._task.due)), np.nan)
        responses: list[bytes] = []

        async def ask(index: int, due: float) -> None:
            late[index] = time.monotonic() - due
            response = await self._client.exchange()
            if response:
                times[index] = time.monotonic() - due
                responses.append(response)

        try:
            async with asyncio.TaskGroup() as group:
                for index, due in enumerate(start + self._task.due):
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    group.create_task(ask(index, due))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for response in responses:  # now, for it would make others late
            self._task.question.check(self._client.answer(response))
        return Asked(times, late)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@dataclass(frozen=True)
class OpenLoad(Load):
    """What an open loop saw in one window; ``seconds`` is longer than the window where answers came later.

    ``offered`` is in requests a second, ``late`` in seconds: how long after it was due a request was sent (99 % of them, at most);
    ``growth`` is that of the latency, in seconds a second.
    """

    offered: float
    refused: int
    late: float
    growth: float

    @property
    def saturated(self) -> bool:
        """Whether the server did not keep up."""
        return self.growth > SATURATED


def growth(due: npt.NDArray[np.float64], times: npt.NDArray[np.float64], seconds: float) -> float:
    """By how much latency grows with each second that passes: from the median of the first third to that of the last.

    A server that answers c of r requests a second falls behind by r/c - 1 seconds each second; one that keeps up gives about 0.

    Args:
        due: when the requests were due, in seconds.
        times: what each took.
        seconds: of the window.
    """
    first, last = times[due < seconds / 3], times[due >= seconds * 2 / 3]
    if not len(first) or not len(last):
        return 0.0
    return float(np.median(last) - np.median(first)) / (seconds * 2 / 3)


def generators() -> int:
    """Processes that generate: some for many cores, for one event loop makes a few thousand requests a second."""
    return min(4, max(1, cores() // 4))


def open_loop(
    clients: Clients, protocol: str, address: str, questions: Sequence[Question], *, rate: float, seconds: float, seed: int
) -> OpenLoad:
    """Offer ``rate`` requests a second for so many ``seconds``, and wait until all have an answer.

    Raises:
        ServerError: the server cannot be reached, refuses, or answers nothing at all.
        AccuracyError: an answer is wrong.
        ToolError: a client process ended.
    """
    number = min(generators(), math.ceil(rate * seconds))
    tasks = [
        OpenLoop(protocol, address, questions[place % len(questions)], schedule(rate / number, seconds, seed + place))
        for place in range(number)
    ]
    seen = clients.together(tasks)
    due = np.concatenate([task.due for task in tasks])
    times = np.concatenate([one.result.times for one in seen])
    answered = ~np.isnan(times)
    if not answered.any():
        raise ServerError(f"{address} refuses all requests, at {rate:g} a second", hint="see MAX_QUEUE_SIZE in docs/configuration.md")
    return OpenLoad(
        times=np.sort(times[answered]),
        seconds=max(seconds, float((due + times)[answered].max())),
        client_cpu_seconds=sum(one.cpu_seconds for one in seen),
        offered=len(due) / seconds,
        refused=int((~answered).sum()),
        growth=growth(due[answered], times[answered], seconds),
        late=float(np.percentile(np.concatenate([one.result.late for one in seen]), 99)),
    )
