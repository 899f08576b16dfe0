"""Pool: calls run on up to N threads of their own, which the loop does not wait for.

Right when calls wait (for a database, a file, another server): the loop serves others meanwhile, and N is how many
may wait at once. A response that is an iterable has its thread to its end (producer.py). Costs two hand-overs between
threads for each call; calls that compute gain nothing, since the interpreter runs one at a time. Under the blocking
models it is a limit: many connections, N calls at once.

All threads start with the first call: after a fork, so that each process has its own. With a time limit, or under Auto,
a thread starts when a call would wait for one. The limit (time_limit.py) adds threads in the place of those that hang;
Auto (auto.py) adds one for its loop, which runs here beside the calls.

PERF: to count the threads that are free, twice a call and under a lock, takes 6,000 of the 58,900 instructions of a
request in a pool (`bench instructions --kinds pool`): so that is done only where it is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from allcomers.calls.producer import answer, is_bound
from allcomers.calls.queue import WorkQueue
from allcomers.connection.http.response_body import PulledBody
from allcomers.errors import CallAbandoned
from allcomers.system.counters import DEQUEUED, QUEUED, CounterRow

if TYPE_CHECKING:
    from allcomers.connection.base import Work

Done: TypeAlias = Callable[[Any], object]
"""Receives the result of a call."""


class PoolLimit(Protocol):
    """A time limit of calls, as their pool knows it (time_limit.TimeLimit)."""

    pool: ThreadPool

    def enqueue(self, work: Work, done: Done) -> Work:
        """Return the call that a thread is to run in the place of `work`."""
        ...

    def dequeue(self, call: Work) -> None:
        """End the wait of a call for its thread. Raises CallAbandoned where that was too long."""
        ...

    def next(self, first: Work, work: Work) -> Work:
        """Return the same for a further call of the response that the call `first` has begun."""
        ...

    def lift(self, thread: int) -> None:
        """Let the calls that run in this thread take any time."""
        ...


class ThreadPool:
    """At most `threads` threads, which run calls.

    limit    the time limit of each call, or None
    observe  called with the seconds that each call took, before its result is reported
    """

    inline = False
    counts = True
    keeps_threads = False

    def __init__(
        self,
        threads: int,
        counters: CounterRow,
        limit: PoolLimit | None = None,
        observe: Callable[[float], object] | None = None,
    ) -> None:
        self.is_limited = limit is not None
        self._counters = counters
        self._limit = limit
        self._observe = observe
        self._is_elastic = limit is not None or observe is not None  # threads start and end as they are needed
        self._jobs: WorkQueue[tuple[Work, Done | None, float]] = WorkQueue()
        self._lock = threading.Lock()  # for the four numbers that follow
        self._threads = threads  # the most that there may be
        self._started = 0
        self._live = 0
        self._free = 0  # threads that wait; less than 0: so many jobs wait
        if limit is not None:
            limit.pool = self

    # ------------------------------------------------------------ calls

    def submit(self, work: Work, done: Done) -> None:
        if self._limit is not None:
            work = self._limit.enqueue(work, done)
        if self._is_elastic:
            with self._lock:
                self._free -= 1
                if self._free < 0:
                    self._start_thread()
        elif self._live < self._threads:
            self._start_all()
        self._counters.add(QUEUED)
        self._jobs.put((work, done, monotonic()))

    def run(self, work: Work) -> Any:
        replies: SimpleQueue[Any] = SimpleQueue()
        self.submit(work, replies.put)
        return replies.get()

    def here(self, work: Work) -> Any:
        return work()

    def call(self, work: Work) -> Any:
        """Run a further call of a response in this thread, and count it."""
        started = monotonic()
        try:
            return work()
        finally:
            self._counters.called(0.0, monotonic() - started)

    def lift_limit(self, thread: int) -> None:
        if self._limit is not None:
            self._limit.lift(thread)

    def release_loop(self) -> bool:
        return True

    def stay(self, stream: PulledBody) -> None:
        """Return: a loop pulls no response that is bound to a thread, since those have threads of the pool."""

    # ------------------------------------------------------------ jobs that are no calls

    def reserve(self) -> bool:
        """Reserve a thread for execute(). Return False if all are taken and no more can be started."""
        with self._lock:
            self._free -= 1
            if self._free >= 0 or self._start_thread():
                return True
            self._free += 1
            return False

    def cancel(self) -> None:
        """Give back the thread that was reserved."""
        with self._lock:
            self._free += 1

    def execute(self, job: Callable[[], object]) -> None:
        """Run `job` in the thread that was reserved."""
        self._jobs.put((job, None, 0.0))

    # ------------------------------------------------------------ threads

    @property
    def live(self) -> int:
        """The threads that there are, those that hang included."""
        return self._live

    def resize(self, by: int) -> None:
        """Allow so many threads more; or fewer: then one ends after its call."""
        with self._lock:
            self._threads += by
            if self._free < 0:
                self._start_thread()

    def _start_all(self) -> None:
        with self._lock:
            while self._start_thread():
                pass

    def _start_thread(self) -> bool:
        """Start a thread, unless there are as many as there may be. Called with the lock held."""
        if self._live >= self._threads:
            return False
        self._jobs.open()
        try:
            # A daemon: a call that never returns must not keep a process that was told to stop.
            threading.Thread(target=self._serve, name=f"call-{self._started}", daemon=True).start()
        except RuntimeError:  # the system has none left: those there are must do
            return False
        self._started += 1
        self._live += 1
        self._free += 1
        return True

    def _serve(self) -> None:
        is_needed = True
        while is_needed:
            work, done, queued_at = self._jobs.get()
            try:
                reply = work() if done is None else self._run(work, queued_at)
            except CallAbandoned:
                reply = done = None
            if self._is_elastic:
                is_needed = self._release()
            if done is not None:
                done(reply)
            del work, done, reply  # while it waits, a thread must not keep the last request alive

    def _release(self) -> bool:
        """Count this thread as free, before its result is reported: so the call that follows on it finds one. Return
        False where it is one too many, and is to end."""
        with self._lock:
            if self._live > self._threads:
                self._live -= 1
                return False
            self._free += 1
            return True

    def _run(self, work: Work, queued_at: float) -> Any:
        """Run a call, and what follows of its response. Raises CallAbandoned."""
        limit, counters = self._limit, self._counters
        counters.add(DEQUEUED)
        started = monotonic()
        if limit is not None:
            limit.dequeue(work)
        try:
            reply = work()
        finally:
            lasted = monotonic() - started
            counters.called(started - queued_at, lasted)
        if self._observe is not None:
            self._observe(lasted)
        if type(reply) is PulledBody and is_bound(reply):
            return answer(reply, reply, self.call if limit is None else partial(self._call_next, limit, work))
        return reply

    def _call_next(self, limit: PoolLimit, first: Work, work: Work) -> Any:
        """Run a further call of the response that `first` has begun: each has the whole time."""
        return self.call(limit.next(first, work))
