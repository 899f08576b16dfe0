"""Where an app's calls run: a second choice beside the model, and any goes with any."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from allcomers.connection.base import Work
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    from allcomers.calls.auto import MovableLoop
    from allcomers.connection.http.response_body import PulledBody


class Calls(Protocol):
    """Where calls run. An answer that is an iterable stays in the thread of its call (producer.py), unless that is the
    one that drives its connection: then it is pulled there, by here()."""

    @property
    def inline(self) -> bool:
        """Is a loop to run its calls here(), not to submit() them? It may change from call to call."""
        ...

    @property
    def counts(self) -> bool:
        """Whether run() counts what it runs in the live figures."""
        ...

    @property
    def keeps_threads(self) -> bool:
        """Whether an answer that waits, and is pulled by a loop, keeps the loop's thread: see stay()."""
        ...

    def run(self, work: Work) -> Any:
        """Run `work` and wait for what it returns, or for OVERDUE: for a thread that serves one peer."""
        ...

    def here(self, work: Work) -> Any:
        """Run `work` in this thread, a loop's. Raises Displaced, see LoopHost."""
        ...

    def stay(self, stream: PulledBody) -> None:
        """Have the loop go on in another thread, and give the rest of `stream` from this one; then raise Displaced.

        Return where the loop cannot move. Where `keeps_threads`.
        """
        ...

    def lift_limit(self, thread: int) -> None:
        """The call that runs in this thread may take any time from here on."""
        ...

    def release_loop(self) -> bool:
        """In the thread of a call, which is to wait: is that not, or no longer, the thread of a loop?"""
        ...

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        """Have `work` run, then `done` called with what it returned, or with OVERDUE, in any thread."""
        ...


@runtime_checkable
class LoopHost(Protocol):
    """Calls that run inline, and whose loop moves on to another thread when one lasts."""

    def host(self, loop: MovableLoop) -> None:
        """Have `loop` run; back when it is over."""
        ...


def make(
    name: str,
    threads: int,
    limit: float = 0.0,
    replace: Callable[[str], object] = lambda why: None,
    counters: CounterRow | None = None,
) -> Calls:
    """The calls called `name`: "inline", "pool" of so many threads, or "auto".

    limit    seconds that a call may take; 0 for any time
    replace  asks, and says why, that another process takes the place of this one, whose threads hang
    counters     where what they do is counted
    """
    counters = counters or CounterRow()
    if limit:
        from allcomers.calls.time_limit import TimedInline, TimedPool

        return (TimedInline if name == "inline" else TimedPool)(threads, limit, replace, counters)
    if name == "auto":
        from allcomers.calls.auto import Auto

        return Auto(threads, counters)
    if name == "pool":
        from allcomers.calls.pool import Pool

        return Pool(threads, counters)
    from allcomers.calls.inline import Inline

    return Inline()
