"""Where a call is: the stack of its thread, or of its coroutine, cut to the app's part."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Coroutine, Iterator
from pathlib import Path
from traceback import FrameSummary, StackSummary
from types import FrameType
from typing import Any, Final

_OURS: Final = str(Path(__file__).parent.parent)
_CALLS: Final = str(Path(__file__).parent)


def of_thread(ident: int) -> StackSummary:
    """The calls that the thread is in, the most recent last; empty if there is no such thread.

    Of one that waits in an event loop, the tasks of that loop as well.
    """
    frame = sys._current_frames().get(ident)
    if frame is None:
        return StackSummary()
    frames = list(traceback.walk_stack(frame))
    stack = _cut(StackSummary.extract(iter(frames), lookup_lines=False))
    for frame, _ in frames:
        if frame.f_code.co_name == "run_forever" and frames[0][0].f_globals.get("__name__") == "selectors":
            stack += _of_tasks(frame.f_locals.get("self"))
    return stack


def _of_tasks(events: Any) -> Iterator[FrameSummary]:
    """Where the tasks wait of an event loop that itself waits in select."""
    for task in sys.modules["asyncio"].all_tasks(events):
        yield from of_coroutine(task.get_coro())


def of_coroutine(coroutine: Coroutine[Any, Any, Any]) -> StackSummary:
    """The coroutines that this one waits in, the innermost last; empty if it has ended."""
    return StackSummary.extract(_awaited(coroutine), lookup_lines=False)


def _awaited(coroutine: Any) -> Iterator[tuple[FrameType, int]]:
    """Each frame and its line from `coroutine` to what it awaits; generators too, as of types.coroutine."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _cut(stack: StackSummary) -> StackSummary:
    """`stack`, the most recent first, in order and from the app's own code on, where it has come to that."""
    stack.reverse()
    begin = 0
    for number, frame in enumerate(stack):
        if frame.filename.startswith(_CALLS):  # before this: how we came to run calls
            begin = number
    own = begin
    while own < len(stack) and stack[own].filename.startswith(_OURS):
        own += 1
    return StackSummary.from_list(stack[own if own < len(stack) else begin :])
