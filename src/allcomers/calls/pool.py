"""Pool: calls run on up to N threads of their own, which the loop does not wait for.

Right when calls wait (for a database, a file, another server): the loop serves others meanwhile, and N is how many
may wait at once. A response that is an iterable has its thread to its end (giving.py). Costs two hand-overs between
threads for each call; calls that compute gain nothing, since the interpreter runs one at a time. Under the blocking
models it is a limit: many connections, N calls at once.

All threads start with the first call: after a fork, so that each process has its own. Each starts the next, for a start
waits until the thread runs: the loop waits for one of them. With a time limit, or under Auto, a thread starts when a
call would wait for one. The limit (time_limit.py) adds threads in the place of those that hang;
Auto (auto.py) adds one for its loop, which runs here beside the calls.

PERF: to count the threads that are free, twice a call and under a lock, takes 6,000 of the 58,900 instructions of a
request in a pool (`bench instructions --kinds pool`): so that is done only where it is needed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.calls.giving import Gathering, answer, is_bound
from allcomers.calls.overload.admission import Admission
from allcomers.calls.overload.delay import CALM
from allcomers.calls.queue import AwaitedReply, WorkQueue
from allcomers.calls.watchdog import LOOK
from allcomers.connection.call import DROPPED, FAILED, OVERLOADED, PartialResponse
from allcomers.connection.http.response_body import PulledBody
from allcomers.errors import CallAbandoned
from allcomers.system import faults
from allcomers.system.counters import DEQUEUED, DROPPED_CALLS, QUEUED, CounterRow
from allcomers.system.native.primitives import SimpleQueue
from allcomers.system.native.threads import Event, start_thread
from allcomers.system.processes.forks import new_lock

if TYPE_CHECKING:
    from allcomers.calls.protocols import Parts, PoolLimit
    from allcomers.connection.base import Work

_logger = logging.getLogger("allcomers.calls")

MOMENT: Final = 0.001
"""Seconds in the queue from which on a call is asked whether it is still awaited. PERF: that may be a system call, and
in less hardly a client has left."""

MOST_AWAY: Final = 1000
"""Threads at most that wait for slow clients beside those that run calls, some 25 KB each; -m thread has as many."""

_LOOK: Final = 1.0
"""Seconds that a thread waits at a time: a signal that came just before the main thread slept is obeyed then."""

Done: TypeAlias = Callable[[Any], object]
"""Receives the result of a call."""


def _nothing() -> None:
    """Wake a thread, which is to end."""


class ThreadPool:
    """At most `threads` threads, which run calls.

    limit      the time limit of each call, or None
    observe    called with the seconds that each call took, before its result is reported
    admission  refuses calls that would wait too long: their result is OVERLOADED; by default none
    gathers    whether pieces of a response that come without a wait go out together; not where each call has a limit
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
        admission: Admission | None = None,
        gathers: bool = True,
    ) -> None:
        self.gathering = Gathering() if gathers and limit is None else None
        self.is_limited = limit is not None
        self._counters = counters
        self._limit = limit
        self._observe = observe
        self._is_elastic = limit is not None or observe is not None  # threads start and end as they are needed
        self._admission = admission = admission or Admission()
        self._waits = admission.queue
        self._jobs: WorkQueue[tuple[Work, Done | None, float]] = WorkQueue()
        admission.queued = self._jobs.__len__
        self._lock = new_lock()  # for the five numbers that follow
        self._threads = threads  # the most that there may be
        self._started = 0
        self._live = 0
        self._free = 0  # threads that wait; less than 0: so many jobs wait. Exact only where that is needed
        self._away = 0  # threads that wait for a client, and whose places others have
        if limit is not None:
            limit.pool = self

    # ------------------------------------------------------------ calls

    def submit(self, work: Work, done: Done) -> None:
        now = monotonic()
        first = self._jobs.first()
        if first is not None and now - first[2] > self._waits.target:  # where all threads hang, none reports it
            self._admission.waited(now - first[2], now)
        if self._admission.late and self._admission.refuses(now, now, False):
            done(OVERLOADED)
            return
        if self._is_elastic:
            with self._lock:
                if self._free < 1:
                    self._start_thread()
                self._free -= self._live > 0
        elif not self._live:
            self._start_next()
        if not self._live:
            _logger.error("a call is refused: the system has no thread for it")
            done(OVERLOADED)
            return
        if self._limit is not None:
            work = self._limit.enqueue(work, done)
        self._counters.add(QUEUED)
        self._jobs.put((work, done, now))
        if self._live < self._threads and not self._is_elastic:  # now that away() finds it
            self._start_next()

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        replies: SimpleQueue[Any] = SimpleQueue() if parts is None else parts.replies
        self.submit(work, replies.put)
        while True:
            try:
                reply = replies.get(timeout=_LOOK)
            except Empty:
                continue
            if not isinstance(reply, PartialResponse) or parts is None:
                return reply
            parts.take(reply)

    def run_until(self, work: Work, parts: Parts, until: Callable[[], float]) -> Any:
        awaited = AwaitedReply(work, parts.replies, self)
        self.submit(work, awaited.done)
        while True:
            left = until() - monotonic()
            try:
                reply = parts.replies.get(timeout=min(left, _LOOK)) if left > 0 else awaited.give_up()
            except Empty:
                continue
            if not isinstance(reply, PartialResponse):
                return reply
            parts.take(reply)

    def here(self, work: Work) -> Any:
        return work()

    def call(self, work: Work) -> Any:
        """Run a further call of a response in this thread, and count it."""
        started = monotonic()
        try:
            return work()
        finally:
            self._counters.called(0.0, monotonic() - started)

    def count_dropped(self) -> None:
        """Count a call that was due, and never began."""
        self._counters.add(DROPPED_CALLS)

    def lift_limit(self, thread: int) -> None:
        if self._limit is not None:
            self._limit.lift(thread)

    def release_loop(self) -> bool:
        return True

    def stay(self, stream: PulledBody, reply: Any) -> None:
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
        self._jobs.put((job, None, math.inf))

    # ------------------------------------------------------------ calls that wait for their clients

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let another thread have the place of this one, and wait for a place again at the end."""
        with self._lock:
            is_away = self._away < MOST_AWAY
            if is_away:
                self._away += 1
                self._threads += 1
                if self._free < 0 or self._jobs:
                    self._start_thread()
        try:
            yield
        finally:
            if is_away:
                self._return()

    def _return(self) -> None:
        """Take a place again: a free one, or that of a thread which ends after its call."""
        with self._lock:
            self._away -= 1
            if self._live < self._threads:
                self._threads -= 1
                return
            self._free -= 1
        returns = Event()
        self._jobs.put((partial(self._give_place, returns), None, math.inf))
        returns.wait()

    def _give_place(self, returns: Event) -> None:
        """Give up the place of this thread, which then ends: a job, in turn with the calls that wait."""
        with self._lock:
            self._threads -= 1
        returns.set()

    # ------------------------------------------------------------ threads

    @property
    def live(self) -> int:
        """The threads that there are, those that hang included."""
        return self._live

    def close(self) -> None:
        """End the threads that are free now, and each of the others once its call is over. Nothing may be submitted any
        more."""
        with self._lock:
            self._threads = 0
            members = self._live
        for _ in range(members):
            self._jobs.put((_nothing, None, math.inf))
        if self._limit is not None:
            self._limit.close()
        if self.gathering is not None:
            self.gathering.close()

    def resize(self, by: int) -> None:
        """Allow so many threads more; or fewer: then one ends after its call."""
        with self._lock:
            self._threads += by
            if self._free < 0:
                self._start_thread()

    def _start_next(self) -> None:
        with self._lock:
            self._start_thread()

    def _start_thread(self) -> bool:
        """Start a thread, unless there are as many as there may be. Called with the lock held."""
        if self._live >= self._threads:
            return False
        self._jobs.open()
        try:
            start_thread(self._serve, name=f"call-{self._started}")
        except RuntimeError:  # the system has none left: those there are must do
            return False
        self._started += 1
        self._live += 1
        self._free += 1
        return True

    def _serve(self) -> None:
        if not self._is_elastic:
            self._start_next()
        is_needed = True
        while is_needed:
            work, done, queued_at = self._jobs.get()
            try:
                reply = work() if done is None else self._run(work, queued_at)
            except CallAbandoned:
                reply = done = None
            except BaseException as error:  # no call raises; if one does, this thread is there for the next
                faults.report(error, "a call raised")
                reply = FAILED
            if self._is_elastic or done is None:
                is_needed = self._release()
            if done is not None:
                try:
                    done(reply)
                except Exception as error:
                    faults.report(error, "the result of a call was lost")
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
        wait = started - queued_at
        if wait > self._waits.target or self._waits.state is not CALM:
            self._admission.waited(wait, started)
            if limit is None and self._admission.refuses_dequeued(wait):
                return OVERLOADED
        if limit is not None:
            limit.dequeue(work)
        if wait > MOMENT and not getattr(work, "is_awaited", True):
            self.count_dropped()
            text = "%s: dropped, for nobody waits for it any more; it has waited %.1f s for a thread"
            _logger.warning(text, getattr(work, "name", "a call"), wait)
            return DROPPED
        try:
            reply = work()
        finally:
            lasted = monotonic() - started
            counters.called(wait, lasted)
        if self._observe is not None:
            self._observe(lasted)
        if type(reply) is PulledBody and is_bound(reply):
            gathering = self.gathering if lasted < LOOK else None  # else what was waited for goes out at once
            return answer(
                reply, reply, self.call if limit is None else partial(self._call_next, limit, work), gathering
            )
        return reply

    def _call_next(self, limit: PoolLimit, first: Work, work: Work) -> Any:
        """Run a further call of the response that `first` has begun: each has the whole time."""
        return self.call(limit.next(first, work))
