"""Watchdog: a thread that looks, again and again, whether something lasts too long.

It sleeps for as long as the look function says. When that says that there is nothing to wait for, it sleeps until
ring(), which costs a call that begins nothing while the thread is awake.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from allcomers.connection.call import FAILED
from allcomers.protocol import compiled
from allcomers.system import faults
from allcomers.system.native.primitives import get_ident, sleep
from allcomers.system.native.threads import Event, start_thread
from allcomers.system.processes.forks import new_lock

if TYPE_CHECKING:
    from traceback import StackSummary

    from allcomers.connection.base import Work

_logger = logging.getLogger("allcomers.calls")

LOOK: Final = 0.001
"""Seconds between two looks at the calls of a loop; one that runs at two of them is slow."""

DOZE: Final = 50
"""Looks without a call after which their watchdog sleeps until one begins."""

_SHORT: Final = 0.05
"""Seconds that may be slept through when the thread is to end; an Event would cost a short look more than that does."""


class Watchdog:
    """The thread, started by the first ring(): a thread lives only in the process that started it, not in its forks.

    look     returns the seconds until the next look, or None: sleep until ring()
    on_idle  called with True before the thread sleeps until ring(), which must be called for each beginning from then
             on; called with False when it is awake
    """

    def __init__(self, look: Callable[[], float | None], on_idle: Callable[[bool], object], name: str) -> None:
        self._look = look
        self._on_idle = on_idle
        self._name = name
        self._is_started = False
        self._lock = new_lock()  # for the start of the thread
        self._bell = Event()
        self._closing = Event()
        self._ended = Event()

    def ring(self) -> None:
        """Wake the thread, or start it. Do nothing where the system has no thread left: the next ring() tries again."""
        with self._lock:
            if not self._is_started:
                try:
                    start_thread(self._run, name=self._name)
                except RuntimeError:
                    return
                self._is_started = True
            self._on_idle(False)
        self._bell.set()

    def close(self) -> None:
        """End the thread, and wait for that."""
        with self._lock:
            self._closing.set()
            is_started = self._is_started
        self._bell.set()
        if is_started:
            self._ended.wait()

    def _run(self) -> None:
        while not self._closing.is_set():
            pause = self._look()
            if pause is None:
                self._on_idle(True)
                pause = self._look()  # what began just before has not rung
                if pause is None and not self._closing.is_set():
                    self._bell.wait()
                self._bell.clear()
                self._on_idle(False)
            if pause is not None:
                (sleep if pause < _SHORT else self._closing.wait)(pause)
        self._ended.set()


class WatchedCall(Protocol):
    """A call with a time limit.

    began    float: its start on the monotonic clock; set by RunningCalls
    thread   int: the ident of the thread that runs it; 0 while it waits for one
    """

    began: float
    thread: int


W = TypeVar("W", bound=WatchedCall)


if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.calls._timed_call import RunningSlots
else:

    class RunningSlots:
        """The part of RunningCalls that each call uses.

        calls    those that run
        is_idle  bool: the watchdog sleeps until ring()
        """

        ring: Callable[[], object]

        def __init__(self) -> None:
            self.calls: dict[Any, None] = {}
            self.is_idle = True

        def begin(self, call: Any) -> None:
            """Add a call, whose time begins now. Called from any thread."""
            call.began = monotonic()
            self.calls[call] = None
            if self.is_idle:
                self.ring()

        def end(self, call: Any) -> bool:
            """Remove a call. Return False if that is too late: then `overdue` has got it. Called from any thread."""
            return self.calls.pop(call, self) is None


class RunningCalls(RunningSlots, Generic[W]):
    """The calls that run, and a Watchdog that finds those which have run for `limit` seconds.

    All have the same limit, so the first that began is due first, and a dict in the order of beginnings is all the book
    there is. A call costs one entry made and one removed. Whoever removes the entry decides on that call: the thread
    that runs it or the watchdog, never both.

    The watchdog sleeps until the oldest call is due. If none runs, the next is due a limit later, so it sleeps for that
    long; if then again none runs, until one begins. So short calls, of which it never sees one, do not wake it each.

    overdue  called once for each call that is over the limit, with it and the stack of its thread; in the watchdog's
             thread, which it must not keep
    """

    def __init__(self, limit: float, overdue: Callable[[W, StackSummary], object]) -> None:
        super().__init__()
        self.limit = limit
        self._overdue = overdue
        self._slept = False  # it has slept for a limit since it saw a call
        self._watchdog = Watchdog(self._look, self._set_idle, f"call-watch {limit:g}")
        self.ring = self._watchdog.ring

    def close(self) -> None:
        """Watch no call any more."""
        self._watchdog.close()

    def of_thread(self, thread: int) -> list[W]:
        """Return the calls that run in this thread."""
        return [call for call in list(self.calls) if call.thread == thread]

    def _set_idle(self, idle: bool) -> None:
        self.is_idle = idle
        self._slept = self._slept and idle

    def _look(self) -> float | None:
        """Deal with the calls that are due. Return the seconds until the next may be; None while none runs."""
        from allcomers.system.native import stacks  # late: most servers limit no call

        now = monotonic()
        for call in list(self.calls):
            left: float = call.began + self.limit - now
            if left > 0:
                self._slept = False
                return left
            stack = stacks.of_thread(call.thread)  # before the removal: so what it shows is surely this call
            if self.end(call):
                self._deal_with(call, stack)
        if self.calls:
            return 0.0
        if self._slept:
            return None
        self._slept = True
        return self.limit

    def _deal_with(self, call: W, stack: StackSummary) -> None:
        try:
            self._overdue(call, stack)
        except Exception:
            _logger.exception("the watcher of calls failed")


if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.calls._timed_call import TimedSlots
else:

    class TimedSlots:
        """The slots of a TimedCall, and its run."""

        __slots__ = ("_running", "_too_late", "began", "done", "is_unlimited", "thread", "work")

        def __init__(
            self,
            work: Work,
            done: Callable[[Any], object],
            running: RunningCalls[TimedCall],
            too_late: Callable[[Any, Any], object],
        ) -> None:
            self.work = work
            self.done = done
            self.thread = 0
            self.began = 0.0
            self.is_unlimited = False
            self._running = running
            self._too_late = too_late

        def __call__(self) -> Any:
            """Run the call in this thread, with the whole time. Return its result, or what `too_late` makes of it."""
            self.thread = get_ident()
            self._running.begin(self)
            try:
                reply = self.work()
            except BaseException as error:  # no call raises; if one does, it has ended all the same
                faults.report(error, "a call raised")
                reply = FAILED
            if self._running.end(self) or self.is_unlimited:
                return reply
            return self._too_late(self, reply)


class TimedCall(TimedSlots):
    """A call that runs under a time limit; it may be called once.

    done  called with TIMED_OUT by the watchdog
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(getattr(self.owner, "name", "a call"))

    @property
    def is_awaited(self) -> bool:
        return getattr(self.work, "is_awaited", True)

    @property
    def owner(self) -> Any:
        """The object that has the call's name and can forget its result: of a method, its object."""
        return getattr(self.work, "owner", None) or getattr(self.work, "__self__", self.work)

    def forget(self, reply: Any) -> None:
        """Drop `reply`, or the call itself if that is TIMED_OUT."""
        forget = getattr(self.owner, "forget", None)
        if forget is not None:
            forget(reply)
