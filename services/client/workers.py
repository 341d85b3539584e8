"""Threads with a connection each, and their answers in the order of the questions."""

import asyncio
import atexit
import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

Connection = TypeVar("Connection")
Outcome = TypeVar("Outcome")

LEAVE_SECONDS = 3.0
"""How long threads are waited for where nobody wants their answers any more."""

Job = Callable[[Connection], Outcome]


class Workers(Generic[Connection]):
    """Does several jobs at a time.

    Threads, because tritonclient's blocking clients cost less processor time than its asynchronous ones, and because
    what the jobs do besides asking (reading, decoding, waiting for other hosts) lets go of Python's lock. A connection of its
    own for each, because tritonclient's HTTP client may not cross threads.

    Args:
        size: how many jobs at a time, which is how many connections; they are made when they are first needed.
        connect: makes a connection, in the thread that uses and closes it.
    """

    def __init__(self, size: int, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._size, self._connect = size, connect
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Job[Connection, Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        # A process that ends while a thread is inside of the libraries may crash.
        atexit.register(self.close, LEAVE_SECONDS)

    def submit(self, job: Job[Connection, Outcome]) -> Future[Outcome]:
        """Have a job done.

        Raises:
            RuntimeError: the workers were closed, or another process made them: threads do not survive a fork.
        """
        future: Future[Outcome] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("this classifier is closed")
            if os.getpid() != self._process:
                raise RuntimeError("this classifier was used before the process was forked; make one in each process")
            self._jobs.put((future, job))
            self._idle -= 1
            if self._idle < 0 and len(self._threads) < self._size:
                self._idle += 1
                thread = threading.Thread(target=self._work, name=f"classify-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def in_order(self, jobs: Iterable[Job[Connection, Outcome]]) -> Generator[Outcome, None, None]:
        """Outcomes in the order of the jobs; a few jobs are taken ahead of the outcome that is waited for."""
        pending: deque[Future[Outcome]] = deque()
        try:
            for job in jobs:
                pending.append(self.submit(job))
                while pending and (len(pending) > self._ahead or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            _cancel(pending)

    async def in_order_async(self, jobs: Iterator[Job[Connection, Outcome]]) -> AsyncGenerator[Outcome, None]:
        """The same for an event loop; the jobs come out of a thread, because to list a folder takes its time."""
        pending: deque[Future[Outcome]] = deque()
        try:
            while job := await asyncio.to_thread(next, jobs, None):
                pending.append(self.submit(job))
                while pending and (len(pending) > self._ahead or pending[0].done()):
                    yield await asyncio.wrap_future(pending.popleft())
            while pending:
                yield await asyncio.wrap_future(pending.popleft())
        finally:
            _cancel(pending)

    def close(self, seconds: float | None = None) -> None:
        """End the threads, and with them the connections, when each has done its job; jobs not begun are given up.

        Args:
            seconds: how long to wait for them; until they have ended where None.
        """
        atexit.unregister(self.close)
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        with contextlib.suppress(queue.Empty):
            while left := self._jobs.get_nowait():
                left[0].cancel()
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join(None if deadline is None else max(0, deadline - time.monotonic()))

    @property
    def _ahead(self) -> int:
        """As many again as are done at a time, so that no thread is idle while the first takes long."""
        return 2 * self._size

    def _work(self) -> None:
        with contextlib.ExitStack() as stack:
            connection: Connection | None = None
            while taken := self._jobs.get():
                future, job = taken
                if future.set_running_or_notify_cancel():
                    try:
                        connection = connection or stack.enter_context(self._connect())
                        future.set_result(job(connection))
                    except BaseException as error:  # it belongs to whoever waits for the outcome
                        future.set_exception(error)
                del taken, future, job  # what they hold is not kept while this thread is idle
                with self._lock:
                    self._idle += 1


def _cancel(pending: Iterable[Future[Any]]) -> None:
    for future in pending:
        future.cancel()
