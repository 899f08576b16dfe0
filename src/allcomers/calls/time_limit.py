"""Calls with a time limit: a client waits no longer than that, and the log tells where the call is.

A call cannot be stopped from outside, so it is left alone: its connection is told OVERDUE in its stead, and whatever
it returns when it does is thrown away, and closed. That needs a thread other than the call's own to be waiting. The
pool has one; for inline calls the blocking models get one too (`run`). Under a model with a loop an inline call is in
the loop's own thread (`here`): nobody can be answered there, so another worker is asked for.

A thread that hangs is lost for as long as it does. Another takes its place, up to a bound: then too the worker asks for
its own replacement, and only then.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import monotonic
from traceback import StackSummary
from typing import TYPE_CHECKING, Any, Final

from allcomers.calls.producer import answer, is_bound
from allcomers.calls.queue import WorkQueue
from allcomers.calls.watchdog import Watchdog
from allcomers.connection.base import Work
from allcomers.connection.call import TIMED_OUT
from allcomers.system.counters import DEQUEUED, QUEUED, CounterRow

if TYPE_CHECKING:
    from allcomers.connection.http.response_body import PulledBody

_logger = logging.getLogger("allcomers.calls")

MANY: Final = 10_000
"""Threads at most for the inline calls of blocking models, one for each conversation: the most of --threads."""


class _TooLate(BaseException):  # not an error: whoever catches these is not to catch it
    """What this thread does is not wanted any more."""


class TimedCall:
    """A Work on its way, as a Watchdog knows it."""

    __slots__ = ("began", "done", "is_unlimited", "thread", "work")

    def __init__(self, work: Work, done: Callable[[Any], object], thread: int = 0) -> None:
        self.work = work
        self.done = done
        self.thread = thread
        self.began = 0.0
        self.is_unlimited = False

    @property
    def owner(self) -> Any:
        """What tells its name and can forget its answer: of a method, its object."""
        return getattr(self.work, "owner", None) or getattr(self.work, "__self__", self.work)

    @property
    def name(self) -> str:
        return str(getattr(self.owner, "name", "a call"))

    def forget(self, reply: Any) -> None:
        """Nobody waits for `reply`, or for the call itself if that is OVERDUE."""
        forget = getattr(self.owner, "forget", None)
        if forget is not None:
            forget(reply)


class TimedPool:
    """Threads that are started as they are needed, at most `threads` that do not hang.

    replace  called once, and told why: as many threads hang as may be replaced
    """

    inline = False
    counts = True
    keeps_threads = False

    def __init__(
        self,
        threads: int,
        limit: float,
        replace: Callable[[str], object],
        counters: CounterRow,
        spare: int | None = None,
    ) -> None:
        self._threads = threads
        self._counters = counters
        self._spare = threads if spare is None else spare
        self._replace = replace
        self._watch: Watchdog[TimedCall] = Watchdog(limit, self._overdue)
        self._jobs: WorkQueue[TimedCall] = WorkQueue()
        self._lock = threading.Lock()  # for the four numbers that follow
        self._started = 0
        self._live = 0  # threads there are
        self._free = 0  # of them, those that wait; less than 0: so many calls wait
        self._stuck = 0  # of them, those that hang
        self._asked = False
        self._pid = os.getpid()  # in a child, as the process model has them, what hangs ends with its client

    # ------------------------------------------------------------ for who has calls

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        call = TimedCall(work, done)
        self._watch.begin(call)  # the wait for a thread is limited as the call is
        with self._lock:
            self._free -= 1
            self._start_if_short()
        self._counters.add(QUEUED)
        self._jobs.put(call)

    def run(self, work: Work) -> Any:
        replies: SimpleQueue[Any] = SimpleQueue()
        self.submit(work, replies.put)
        return replies.get()

    def here(self, work: Work) -> Any:
        return work()

    def lift_limit(self, thread: int) -> None:
        for call in self._watch.running(thread):
            call.is_unlimited = self._watch.end(call)

    def release_loop(self) -> bool:
        return True

    def stay(self, stream: PulledBody) -> None:
        """As a Pool's."""

    # ------------------------------------------------------------ threads

    def _start_if_short(self) -> None:
        """Start a thread where a call would wait and there may be more. With the lock held."""
        if self._free >= 0 or self._live >= self._most():
            return
        self._jobs.open()
        try:
            threading.Thread(target=self._serve, name=f"call-{self._started}", daemon=True).start()
        except RuntimeError:  # the system has none left: those there are must do
            return
        self._started += 1
        self._live += 1
        self._free += 1

    def _most(self) -> int:
        return self._threads + min(self._stuck, self._spare)

    def _serve(self) -> None:
        while self._serve_one(self._jobs.get()):
            pass

    def _serve_one(self, call: TimedCall) -> bool:
        """Is this thread needed after that?"""
        watch = self._watch
        due, now = call.began, monotonic()
        self._counters.add(DEQUEUED)
        if not watch.end(call):  # it has waited for too long
            call.forget(TIMED_OUT)
            return self._is_free()
        call.thread = threading.get_ident()
        try:
            reply = self._limited(call, now - due)
            if is_bound(reply):
                reply = answer(reply, reply, partial(self._go_on, call))
        except _TooLate:
            return self._is_free()
        is_needed = self._is_free()  # first, so that the call that follows on the answer finds a free thread
        call.done(reply)
        return is_needed

    def _limited(self, call: TimedCall, waited: float = 0.0) -> Any:
        """Run it. Raises _TooLate where its connection has been told OVERDUE."""
        began = monotonic()
        self._watch.begin(call)
        reply = call.work()
        self._counters.called(waited, monotonic() - began)
        if self._watch.end(call) or call.is_unlimited:
            return reply
        text = "%s: the call has ended after %.1f s; its answer is thrown away"
        _logger.info(text, call.name, monotonic() - call.began)
        call.forget(reply)
        with self._lock:
            self._stuck -= 1
        raise _TooLate

    def _go_on(self, first: TimedCall, work: Work) -> Any:
        """Run a further call of the answer that `first` has begun: each has the whole time."""
        return self._limited(TimedCall(work, first.done, first.thread))

    def _is_free(self) -> bool:
        """This thread can take the next call; False if another has taken its place."""
        with self._lock:
            if self._live > self._most():
                self._live -= 1
                return False
            self._free += 1
            return True

    # ------------------------------------------------------------ in the watcher's thread

    def _overdue(self, call: TimedCall, stack: StackSummary) -> None:
        # Told before it is answered: under the process model the answer may be the end of the process.
        if not call.thread:
            text = "%s: it has waited %g s for a thread; all %d are taken, %d by calls that hang"
            _logger.warning(text, call.name, self._watch.limit, self._live, self._stuck)
            call.done(TIMED_OUT)
            return
        tell(call.name, self._watch.limit, stack)
        call.done(TIMED_OUT)
        with self._lock:
            self._stuck += 1
            self._start_if_short()
            asks = self._stuck >= self._spare and not self._asked and self._pid == os.getpid()
            self._asked = self._asked or asks
        if asks:
            self._replace(f"{self._stuck} threads hang in calls")


class TimedInline:
    """Calls in the thread that submits them, but for `run`."""

    inline = True
    counts = True
    keeps_threads = False

    def __init__(self, threads: int, limit: float, replace: Callable[[str], object], counters: CounterRow) -> None:
        self._replace = replace
        self._watch: Watchdog[TimedCall] = Watchdog(limit, self._overdue)
        self._helpers = TimedPool(MANY, limit, replace, counters, spare=threads)  # who waits for them counts
        self._asked = False

    def run(self, work: Work) -> Any:
        """In a thread of its own, so that this one can give up waiting for it."""
        return self._helpers.run(work)

    def here(self, work: Work) -> Any:
        watch = self._watch
        call = TimedCall(work, _ignore, threading.get_ident())
        watch.begin(call)
        reply = work()
        if not watch.end(call):
            _logger.info("%s: the call has ended after %.1f s", call.name, monotonic() - call.began)
        return reply

    def lift_limit(self, thread: int) -> None:
        self._helpers.lift_limit(thread)

    def release_loop(self) -> bool:
        return False

    def stay(self, stream: PulledBody) -> None:
        """As an Inline's."""

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        done(self.here(work))

    def _overdue(self, call: TimedCall, stack: StackSummary) -> None:
        tell(call.name, self._watch.limit, stack)
        if not self._asked:
            self._asked = True
            self._replace("it serves nobody while it is in a call")


def tell(name: str, limit: float, stack: StackSummary) -> None:
    """Which call, how long, where it is."""
    where = "".join(stack.format()).rstrip()
    _logger.error("%s: after %g s the call has not ended; it is at:\n%s", name, limit, where)


def _ignore(reply: Any) -> None:
    """What an inline call returns goes to who began it."""
