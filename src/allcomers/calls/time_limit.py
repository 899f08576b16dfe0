"""Calls with a time limit: a client waits no longer than that, and the log tells where the call is.

A call cannot be stopped from outside, so it is left alone: its connection gets TIMED_OUT in its stead, and its result,
if it ever has one, is dropped and closed. That takes a thread other than the call's own to wait. The pool has one; for
inline calls the blocking models get one too (`run`). Under a model with a loop an inline call is in the loop's own
thread (`here`): there no peer can be answered, so another worker is requested.

Under Auto the loop has left a call that hangs, so its client is answered all the same, and the thread counts as one of
the pool's; where the loop cannot leave its thread, its calls run in the pool.

A thread that hangs is lost for as long as it does. Another takes its place, up to a bound: then too the worker requests
its own replacement, and only then.

Calls of async apps are tasks of the event loop that watches the sockets. A task that waits can be cancelled: its client
is answered 503, and the task gets CancelledError where it waits. One that does not wait, but keeps the loop, cannot;
then no peer is served, and another worker is requested.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from time import monotonic
from traceback import StackSummary
from typing import TYPE_CHECKING, Any, Final, Protocol

from allcomers.calls.auto import Auto
from allcomers.calls.pool import ThreadPool
from allcomers.calls.watchdog import RunningCalls, TimedCall
from allcomers.connection.call import TIMED_OUT
from allcomers.errors import CallAbandoned, LoopMoved
from allcomers.system.counters import CounterRow
from allcomers.system.native import stacks
from allcomers.system.native.primitives import get_ident
from allcomers.system.native.threads import Event
from allcomers.system.processes.forks import new_lock

if TYPE_CHECKING:
    import asyncio

    from allcomers.calls.overload.admission import Admission
    from allcomers.calls.protocols import Parts
    from allcomers.connection.base import Work
    from allcomers.connection.http.response_body import PulledBody

_logger = logging.getLogger("allcomers.calls")

MANY: Final = 10_000
"""Threads at most for the inline calls of blocking models, one for each conversation: the most of --threads."""

SIGN_OF_LIFE: Final = 1.0
"""Seconds at most in which a loop must show that it still turns."""


class TimeLimit:
    """The time limit of a ThreadPool's calls.

    spare    threads that may take the place of those that hang
    replace  called once, with a reason, when that many hang
    pool     the pool; set by that
    """

    def __init__(self, seconds: float, spare: int, replace: Callable[[str], object]) -> None:
        self.pool: ThreadPool
        self._spare = spare
        self._replace = replace
        self._running: RunningCalls[TimedCall] = RunningCalls(seconds, self._overdue)
        self._lock = new_lock()  # for what follows
        self._stuck = 0  # threads that hang
        self._replacement_requested = False
        self._pid = os.getpid()  # in a child, as the process model has them, a hanging call ends with its client

    def enqueue(self, work: Work, done: Callable[[Any], object]) -> TimedCall:
        """Return the call that a thread is to run: its wait for one is limited as the call is."""
        call = TimedCall(work, done, self._running, self._abandon)
        self._running.begin(call)
        return call

    def dequeue(self, call: Work) -> None:
        assert isinstance(call, TimedCall)
        if not self._running.end(call):
            call.forget(TIMED_OUT)
            raise CallAbandoned

    def next(self, first: Work, work: Work) -> TimedCall:
        assert isinstance(first, TimedCall)
        return TimedCall(work, first.done, self._running, self._abandon)

    def close(self) -> None:
        self._running.close()

    def lift(self, thread: int) -> None:
        for call in self._running.of_thread(thread):
            call.is_unlimited = self._running.end(call)

    def _abandon(self, call: TimedCall, reply: Any) -> None:
        """Drop the result of a call that was too late. Raises CallAbandoned."""
        self.drop(call, reply)
        raise CallAbandoned

    def drop(self, call: Any, reply: Any) -> None:
        """Drop the result of a call that was too late: its thread hangs no more."""
        text = "%s: the call has ended after %.1f s; its answer is thrown away"
        _logger.info(text, call.name, monotonic() - call.began)
        call.forget(reply)
        with self._lock:
            self._stuck -= 1
            is_replaced = self._stuck < self._spare
        if is_replaced:
            self.pool.resize(-1)

    def _overdue(self, call: TimedCall, stack: StackSummary) -> None:
        # Logged before it is answered: under the process model the answer may be the end of the process.
        seconds = self._running.limit
        if not call.thread:
            text = "%s: it has waited %g s for a thread; all %d are taken, %d by calls that hang"
            _logger.warning(text, call.name, seconds, self.pool.live, self._stuck)
            self.pool.count_dropped()
            call.done(TIMED_OUT)
            return
        log_overdue(call.name, seconds, stack)
        call.done(TIMED_OUT)
        self.give_up_thread()

    def give_up_thread(self) -> None:
        """Put another thread in the place of one that hangs; if too many do, request another worker."""
        with self._lock:
            self._stuck += 1
            may_replace = self._stuck <= self._spare
            requests = self._stuck >= self._spare and not self._replacement_requested and self._pid == os.getpid()
            self._replacement_requested = self._replacement_requested or requests
        if may_replace:
            self.pool.resize(1)
        if requests:
            self._replace(f"{self._stuck} threads hang in calls")


class TimedInline:
    """Calls in the thread that submits them, but for `run`."""

    inline = True
    counts = True
    keeps_threads = False
    is_limited = True

    def __init__(self, threads: int, limit: float, replace: Callable[[str], object], counters: CounterRow) -> None:
        self._replace = replace
        self.running: RunningCalls[TimedCall] = RunningCalls(limit, self._overdue)
        # Of the threads of `run`, those that wait for them are the limit.
        self._helpers = ThreadPool(MANY, counters, TimeLimit(limit, threads, replace))
        self._replacement_requested = False

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        """Run `work` in a thread of its own, so that this one can give up waiting for it."""
        return self._helpers.run(work, parts)

    def away(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing: the threads of `run` are as many as are needed."""
        return nullcontext()

    def run_until(self, work: Work, parts: Parts, until: Callable[[], float]) -> Any:
        return self._helpers.run_until(work, parts, until)

    def here(self, work: Work) -> Any:
        return TimedCall(work, _ignore, self.running, self.end_late)()

    def end_late(self, call: TimedCall, reply: Any) -> Any:
        """Return the result of a call that was too late: its caller has waited for it all the same."""
        _logger.info("%s: the call has ended after %.1f s", call.name, monotonic() - call.began)
        return reply

    def lift_limit(self, thread: int) -> None:
        self._helpers.lift_limit(thread)

    def release_loop(self) -> bool:
        return False

    def stay(self, stream: PulledBody, reply: Any) -> None:
        """Return: the loop never leaves its thread."""

    def close(self) -> None:
        self.running.close()
        self._helpers.close()

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        done(self.here(work))

    def _overdue(self, call: TimedCall, stack: StackSummary) -> None:
        log_overdue(call.name, self.running.limit, stack)
        if not self._replacement_requested:
            self._replacement_requested = True
            self._replace("it serves nobody while it is in a call")


class TimedAuto(Auto):
    """Auto with a time limit. Where the loop cannot leave a call that hangs, another worker is requested."""

    counts = True
    is_limited = True

    def __init__(
        self,
        threads: int,
        limit: float,
        replace: Callable[[str], object],
        counters: CounterRow,
        admission: Admission | None,
    ) -> None:
        self._limit = TimeLimit(limit, threads, replace)
        self._replace = replace
        self.running: RunningCalls[TimedCall] = RunningCalls(limit, self._overdue)  # that began in the loop's thread
        self._given_up: dict[int, TimedCall] = {}  # of those, by thread, the ones whose clients were answered
        super().__init__(threads, counters, admission, self._limit)

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        return self._pool.run(work, parts)

    def run_until(self, work: Work, parts: Parts, until: Callable[[], float]) -> Any:
        return self._pool.run_until(work, parts, until)

    def here(self, work: Work) -> Any:
        return super().here(TimedCall(work, _ignore, self.running, self.end_late))

    def end_late(self, call: TimedCall, reply: Any) -> Any:
        """Return the result of a call that was too late, after noting that it is over."""
        with self._lock:
            call.thread = 0
        return reply

    def lift_limit(self, thread: int) -> None:
        self._limit.lift(thread)

    def close(self) -> None:
        super().close()
        self.running.close()

    def _call_further(self, work: Work) -> Any:
        reply = super()._call_further(TimedCall(work, _ignore, self.running, self.end_late))
        if self._drop(reply):
            raise LoopMoved
        return reply

    def _answer_late(self, stream: Any, reply: Any) -> None:
        if not self._drop(reply):
            super()._answer_late(stream, reply)

    def _drop(self, reply: Any) -> bool:
        """Drop the result of this thread's call, if its client has been answered. Return whether it has."""
        with self._lock:
            call = self._given_up.pop(get_ident(), None)
        if call is not None:
            self._limit.drop(call, reply)
        return call is not None

    def _overdue(self, call: TimedCall, stack: StackSummary) -> None:
        log_overdue(call.name, self.running.limit, stack)
        with self._lock:
            thread = call.thread
            if not thread:  # it has ended just now
                return
            moves = thread == self.owner and thread not in self._left and self._leave(call.began)
            done, _ = self._left.pop(thread, (None, 0.0))
            if done is not None:
                self._given_up[thread] = call
                self._end()
        if moves:
            self._pool.execute(self._run_loop)
        if done is None:
            self._replace("it serves nobody while it is in a call")
        else:
            done(TIMED_OUT)
            self._limit.give_up_thread()


class LimitedCall(Protocol):
    """A call of an async app.

    began, thread  as WatchedCall has them
    name             of its request
    coroutine        the coroutine that runs the app; None before there is one
    """

    began: float
    thread: int

    @property
    def name(self) -> str: ...

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any] | None: ...

    def time_out(self) -> None:
        """Give the call up, in the thread of the loop; it may have answered meanwhile."""
        ...


class TaskLimit:
    """begin() and end() as RunningCalls has them, for calls of an async app.

    replace  called once, with a reason: a task keeps the loop
    """

    def __init__(self, limit: float, replace: Callable[[str], object], events: asyncio.AbstractEventLoop) -> None:
        self._replace = replace
        self._events = events
        self._replacement_requested = False
        running: RunningCalls[LimitedCall] = RunningCalls(limit, self._overdue)
        self._limit = limit
        self.begin = running.begin
        self.end = running.end
        self.close = running.close

    def _overdue(self, call: LimitedCall, stack: StackSummary) -> None:
        import inspect  # late: only here

        coroutine = call.coroutine
        waits = coroutine is not None and inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        if waits and coroutine is not None:
            stack = stacks.of_coroutine(coroutine)
        log_overdue(call.name, self._limit, stack)
        with suppress(RuntimeError):  # the loop is closed: the worker is about to end
            self._events.call_soon_threadsafe(call.time_out)
            if not waits and not self._replacement_requested and not self._turns():
                self._replacement_requested = True
                self._replace("it serves nobody while it is in a call")

    def _turns(self) -> bool:
        """Return whether the loop comes to its next turn soon."""
        turned = Event()
        self._events.call_soon_threadsafe(turned.set)
        return turned.wait(min(SIGN_OF_LIFE, self._limit))


def log_overdue(name: str, limit: float, stack: StackSummary) -> None:
    """Log which call has not ended, after how long, and where it is."""
    where = "".join(stack.format()).rstrip()
    _logger.error("%s: after %g s the call has not ended; it is at:\n%s", name, limit, where)


def _ignore(reply: Any) -> None:
    """Drop TIMED_OUT: the result of an inline call goes to its caller."""
