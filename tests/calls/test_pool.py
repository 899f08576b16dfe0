"""ThreadPool: a thread that waits for a slow client lets another have its place, and takes one again afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from allcomers.calls.pool import ThreadPool
from allcomers.calls.time_limit import TimeLimit
from allcomers.connection.call import TIMED_OUT
from allcomers.system.counters import CounterRow
from support.harness import PATIENCE, wait_for


def plain(threads: int) -> ThreadPool:
    return ThreadPool(threads, CounterRow())


def observed(threads: int) -> ThreadPool:
    return ThreadPool(threads, CounterRow(), observe=lambda lasted: None)


def limited(threads: int) -> ThreadPool:
    return ThreadPool(threads, CounterRow(), TimeLimit(30, 1, lambda why: None))


@pytest.fixture(params=[plain, observed, limited], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[int], ThreadPool]:
    found: Callable[[int], ThreadPool] = request.param
    return found


class Calls:
    """Calls that run until they are told to go on; `most` is how many ran at once."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._running = self.most = 0
        self.done: SimpleQueue[Any] = SimpleQueue()

    def _enter(self, by: int) -> None:
        with self._lock:
            self._running += by
            self.most = max(self.most, self._running)

    def submit(self, *steps: threading.Event | tuple[threading.Event, threading.Event]) -> None:
        """Run a call of these steps: an event is waited for; of a pair, the first is set, and the second waited for
        without a place."""

        def work() -> None:
            self._enter(1)
            for step in steps:
                if isinstance(step, threading.Event):
                    assert step.wait(30)
                    continue
                self._enter(-1)
                with self._pool.away():
                    step[0].set()
                    assert step[1].wait(30)
                self._enter(1)
            self._enter(-1)

        self._pool.submit(work, self.done.put)

    def ends(self, count: int) -> None:
        for _ in range(count):
            assert self.done.get(timeout=30) is None


def test_another_call_has_the_place(make: Callable[[int], ThreadPool]) -> None:
    pool = make(1)
    calls = Calls(pool)
    is_away, comes_back, goes_on = threading.Event(), threading.Event(), threading.Event()
    calls.submit((is_away, comes_back))
    assert is_away.wait(30)
    calls.submit(goes_on)  # it has the only place
    comes_back.set()
    goes_on.set()
    calls.ends(2)
    assert calls.most == 1
    wait_for(lambda: pool.live == 1, "the thread that is one too many to end")
    calls.submit()
    calls.ends(1)


def test_calls_that_wait_already_get_the_place(make: Callable[[int], ThreadPool]) -> None:
    pool = make(1)
    calls = Calls(pool)
    begins, is_away, comes_back = threading.Event(), threading.Event(), threading.Event()
    calls.submit(begins, (is_away, comes_back))
    calls.submit()
    begins.set()
    calls.ends(1)
    comes_back.set()
    calls.ends(1)
    assert calls.most == 1


def test_many_at_once(make: Callable[[int], ThreadPool]) -> None:
    pool = make(3)
    calls = Calls(pool)
    away = [(threading.Event(), threading.Event()) for _ in range(40)]
    for pair in away:
        calls.submit(pair)
    for is_away, _ in away:
        assert is_away.wait(30)
    for _ in range(20):
        calls.submit()
    calls.ends(20)
    for _, comes_back in away:
        comes_back.set()
    calls.ends(40)
    assert calls.most <= 3
    wait_for(lambda: pool.live <= 3, "the threads that are too many to end")


class Parts:
    """The parts of a response that nobody waits for."""

    def __init__(self) -> None:
        self.replies: SimpleQueue[Any] = SimpleQueue()

    def take(self, part: Any) -> None:
        raise AssertionError(part)


def test_a_thread_that_closes_a_late_response_is_not_free() -> None:
    """A call that comes meanwhile has another thread."""
    pool = ThreadPool(2, CounterRow(), TimeLimit(60.0, 1, print))
    runs, closes, may_end, may_close = (threading.Event() for _ in range(4))

    class Work:
        def __call__(self) -> str:
            runs.set()
            may_end.wait()
            return "late"

        def forget(self, reply: Any) -> None:
            closes.set()
            may_close.wait()

    try:
        assert pool.run_until(Work(), Parts(), lambda: 0.0) is TIMED_OUT
        runs.wait()
        may_end.set()
        closes.wait()
        replies: SimpleQueue[str] = SimpleQueue()
        pool.submit(lambda: "another", replies.put)
        assert replies.get(timeout=PATIENCE) == "another"
    finally:
        may_end.set()
        may_close.set()
        pool.close()
