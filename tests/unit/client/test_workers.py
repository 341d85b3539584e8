"""Several at a time, in order, a few ahead, and nothing left behind."""

import asyncio
import contextlib
import itertools
import threading
from concurrent.futures import CancelledError

import pytest

from services.client.workers import Workers
from tests.conftest import wait_for


class Connections:
    """Counts those that are open, and in which threads they are used."""

    def __init__(self):
        self.opened, self.closed = [], []

    @contextlib.contextmanager
    def connect(self):
        self.opened.append(threading.current_thread())
        yield threading.current_thread()
        self.closed.append(threading.current_thread())


@pytest.fixture
def connections():
    return Connections()


@pytest.fixture
def workers(connections):
    made = Workers(3, connections.connect)
    yield made
    made.close()


def test_outcomes_are_in_order_although_the_first_is_the_last_to_be_done(workers):
    release = threading.Event()

    def job(index):
        def do(_connection):
            if index == 0:
                release.wait(20)
            elif index == 4:
                release.set()
            return index

        return do

    assert list(workers.in_order(map(job, range(20)))) == list(range(20))


def test_a_bound_of_jobs_is_taken_ahead(workers):
    taken = []

    def jobs():
        for index in itertools.count():
            taken.append(index)
            yield lambda _connection, index=index: index

    outcomes = workers.in_order(jobs())
    assert [next(outcomes) for _ in range(50)] == list(range(50))
    assert len(taken) <= 50 + 2 * 3 + 1
    outcomes.close()


def test_what_is_done_is_handed_out_before_more_is_taken(workers):
    """A source that is slow must not hold back the answers that are there."""
    done = threading.Event()

    def first(_connection):
        done.set()
        return "first"

    def jobs():
        yield first
        assert done.wait(20)
        wait_for(lambda: workers._idle == 1)
        yield lambda _connection: "second"
        pytest.fail("a third was taken first")

    outcomes = workers.in_order(jobs())
    assert next(outcomes) == "first"
    outcomes.close()


def test_no_more_at_a_time_than_there_are_workers(workers):
    together = threading.Barrier(3)
    under_way, most = [], []

    def job(_connection):
        under_way.append(1)
        most.append(len(under_way))
        together.wait(20)  # three are needed to go on
        under_way.pop()
        together.wait(20)

    list(workers.in_order([job] * 9))
    assert max(most) == 3


def test_each_thread_has_a_connection_of_its_own_and_closes_it(workers, connections):
    together = threading.Barrier(3)
    users = list(workers.in_order([lambda connection: together.wait(20) is None or connection] * 6))
    assert set(users) == set(connections.opened)
    assert len(connections.opened) == 3
    workers.close()
    assert set(connections.closed) == set(connections.opened)


def test_one_thread_is_enough_for_one_job_after_the_other(workers, connections):
    for index in range(10):
        assert workers.submit(lambda _connection, index=index: index).result() == index
        wait_for(lambda: workers._idle == 1)
    assert len(connections.opened) == 1


def test_an_error_ends_the_run_and_the_jobs_behind_it_are_given_up(workers):
    ran, release = [], threading.Event()

    def job(index):
        def do(_connection):
            if index == 0:
                raise ValueError("first")
            release.wait(20)
            ran.append(index)

        return do

    with pytest.raises(ValueError, match="first"):
        list(workers.in_order(map(job, range(100))))
    release.set()
    workers.close()
    assert len(ran) <= 6


def test_a_connection_that_cannot_be_made_is_the_error_of_each_job():
    @contextlib.contextmanager
    def refuse():
        raise OSError("no route")
        yield

    workers = Workers(2, refuse)
    for _ in range(3):
        with pytest.raises(OSError, match="no route"):
            workers.submit(lambda _connection: 1).result()
    workers.close()


def test_after_the_end_nothing_is_taken(workers):
    workers.close()
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(lambda _connection: 1)


def test_an_end_without_patience_gives_up_what_has_not_begun(connections):
    workers = Workers(1, connections.connect)
    begun, release = threading.Event(), threading.Event()

    def hold(_connection):
        begun.set()
        return release.wait(20)

    first = workers.submit(hold)
    second = workers.submit(lambda _connection: 2)
    assert begun.wait(20)
    workers.close(0)
    with pytest.raises(CancelledError):
        second.result()
    release.set()
    assert first.result() is True


def test_in_an_event_loop_others_have_their_turn(workers):
    async def run():
        other = asyncio.Event()

        def job(index):
            return lambda _connection: asyncio.run_coroutine_threadsafe(other.wait(), loop).result(20) and index

        async def free():
            await asyncio.sleep(0)
            other.set()

        loop = asyncio.get_running_loop()
        task = asyncio.create_task(free())
        found = [outcome async for outcome in workers.in_order_async(map(job, range(1, 21)))]
        await task
        return found

    assert asyncio.run(run()) == list(range(1, 21))


def test_a_cancelled_task_gives_up_its_jobs(workers):
    ran: list[object] = []
    release = threading.Event()

    def hold(_connection: object) -> None:
        release.wait(20)

    async def take():
        async with contextlib.aclosing(workers.in_order_async(iter([hold] * 3 + [ran.append] * 50))) as outcomes:
            async for _ in outcomes:
                pass

    async def run():
        task = asyncio.create_task(take())
        while len(workers._threads) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    release.set()
    workers.close()
    assert ran == []


def test_a_process_that_ends_waits_for_the_jobs_that_have_begun(run_python):
    done = run_python(
        "import contextlib, threading, time\n"
        "from services.client.workers import Workers\n"
        "begun = threading.Event()\n"
        "workers = Workers(1, contextlib.nullcontext)\n"
        "workers.submit(lambda _: (begun.set(), time.sleep(0.3), print('done')))\n"
        "workers.submit(lambda _: print('never'))\n"
        "begun.wait(20)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_process_that_was_forked_is_told_so(monkeypatch):
    workers = Workers(1, contextlib.nullcontext)
    try:
        assert workers.submit(lambda _: 1).result(5) == 1
        monkeypatch.setattr("os.getpid", lambda: 0)
        with pytest.raises(RuntimeError, match="forked"):
            workers.submit(lambda _: 1)
    finally:
        monkeypatch.undo()
        workers.close()
