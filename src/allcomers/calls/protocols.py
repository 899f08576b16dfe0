"""What the parts know of each other: a driver of where calls run, and calls of the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from allcomers.calls.ownership import Ownership
    from allcomers.connection.base import Work
    from allcomers.connection.http.response_body import PulledBody


class Parts(Protocol):
    """Parts of a response whose call runs in another thread than its peer's own.

    replies  where the call's result is put, and each PartialResponse
    """

    replies: SimpleQueue[Any]

    def take(self, part: Any) -> None:
        """Send a part."""
        ...


class Calls(Protocol):
    """Where calls run. A response that is an iterable stays in the thread of its call (giving.py), unless that thread
    drives its connection: then it is pulled there, by here().

    counts        bool: run() adds what it runs to the live figures
    keeps_threads bool: a response that waits, and is pulled by a loop, keeps the loop's thread: see stay()
    is_limited    bool: calls have a time limit
    """

    @property
    def inline(self) -> bool:
        """Whether a loop runs its next call by here(), rather than by submit()."""
        ...

    @property
    def counts(self) -> bool: ...

    @property
    def keeps_threads(self) -> bool: ...

    @property
    def is_limited(self) -> bool: ...

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        """Run `work`, wait, and return its result, or TIMED_OUT: for a thread that serves one peer. Where it runs in
        another, send the `parts` of its response meanwhile."""
        ...

    def away(self) -> AbstractContextManager[object]:
        """Return a context in which the thread of a call waits for its client: another call has its place."""
        ...

    def here(self, work: Work) -> Any:
        """Run `work` in this thread, a loop's. Raises LoopMoved, see LoopHost."""
        ...

    def stay(self, stream: PulledBody, reply: Any) -> None:
        """Send the loop on to another thread, give the rest of `stream` from this one, then raise LoopMoved.

        reply  as calls.giving.answer() has it

        Return where the loop cannot move. Called only where `keeps_threads`.
        """
        ...

    def lift_limit(self, thread: int) -> None:
        """Let the call that runs in this thread take any time from here on."""
        ...

    def release_loop(self) -> bool:
        """Return True if the calling thread may block: it is not, or no longer, an event loop's thread."""
        ...

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        """Run `work`, then call `done` with its result, or with TIMED_OUT, in any thread."""
        ...

    def close(self) -> None:
        """End the threads, each once its call is over: nothing is submitted any more."""
        ...


class TimedCalls(Calls, Protocol):
    """Calls that have a time limit (`is_limited`)."""

    def run_until(self, work: Work, parts: Parts, until: Callable[[], float]) -> Any:
        """Run as run() does; return TIMED_OUT at the time `until`, too, which may move while this waits."""
        ...


class PoolLimit(Protocol):
    """A time limit of calls, as their pool knows it (time_limit.TimeLimit)."""

    pool: Any

    def enqueue(self, work: Work, done: Callable[[Any], object]) -> Work:
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

    def close(self) -> None:
        """Watch no call any more."""
        ...


class MovableLoop(Protocol):
    """A loop that may move from one thread to another (models/driver/event_loop.py)."""

    def run(self) -> None:
        """Serve until the end, or until here() raises LoopMoved."""
        ...

    def leave(self) -> Callable[[Any], object]:
        """Detach the loop from its thread, which stays inside a call. Return the callback for that call's result;
        another thread then calls run()."""
        ...


class LoopHost(Protocol):
    """Calls that run inline, and whose loop moves on to another thread when one lasts.

    ownership  which thread has the loop; compiled code that runs calls itself claims it there
    """

    ownership: Ownership

    def host(self, loop: MovableLoop) -> None:
        """Run `loop`; return when it ends."""
        ...

    def answer_late(self, reply: Any, stream: Any = None) -> None:
        """Post the result of a call whose thread has lost the loop, a piece of `stream` perhaps. The caller then raises
        LoopMoved."""
        ...


def pulls_of(calls: Calls) -> Ownership | None:
    """Return the ownership that a loop claims while it pulls a piece of a response, and whose watchdog flushes what is
    held of that meanwhile; None where these calls have none."""
    host = loop_host(calls)
    return getattr(calls, "pulls", None) if host is None else host.ownership


def loop_host(calls: Calls) -> LoopHost | None:
    """Return `calls` if they move the loop to another thread.

    PERF: isinstance() of a protocol loads `inspect`, which takes 10 ms before the first response.
    """
    return cast("LoopHost", calls) if hasattr(calls, "ownership") else None
