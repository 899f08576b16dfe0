"""Where an app's calls run: a second choice beside the model, and any goes with any."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    from allcomers.calls.overload.admission import Admission
    from allcomers.calls.protocols import Calls


def make(
    name: str,
    threads: int,
    limit: float = 0.0,
    replace: Callable[[str], object] = lambda why: None,
    counters: CounterRow | None = None,
    admission: Admission | None = None,
    gathers: bool = True,
) -> Calls:
    """Return the calls called `name`: "inline", "pool" of at most `threads` threads, or "auto".

    limit      seconds that a call may take; 0 for any time
    replace    requests, with a reason, a process in the place of this one, whose threads hang
    counters   the row that counts the calls
    admission  refuses calls that would wait too long; by default none
    gathers    whether pieces of a response that come without a wait go out together
    """
    counters = counters or CounterRow()
    if limit and name == "inline":
        from allcomers.calls.time_limit import TimedInline

        return TimedInline(threads, limit, replace, counters)
    if name == "auto" and limit:
        from allcomers.calls.time_limit import TimedAuto

        return TimedAuto(threads, limit, replace, counters, admission)
    if name == "auto":
        from allcomers.calls.auto import Auto

        return Auto(threads, counters, admission, gathers=gathers)
    if name == "inline":
        from allcomers.calls.inline import Inline

        return Inline()
    from allcomers.calls.pool import ThreadPool

    if not limit:
        return ThreadPool(threads, counters, admission=admission, gathers=gathers)
    from allcomers.calls.time_limit import TimeLimit

    return ThreadPool(threads, counters, TimeLimit(limit, threads, replace), admission=admission)
