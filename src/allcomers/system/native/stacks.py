"""Where a call is: the stack of its thread, or of its coroutine, cut to the app's part."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from traceback import FrameSummary, StackSummary
from types import FrameType
from typing import Any, Final, TypeAlias

_PACKAGE: Final = Path(__file__).parents[2]
_OURS: Final = str(_PACKAGE)
_CALLERS: Final = (str(_PACKAGE / "calls"), str(_PACKAGE / "models" / "driver"))
_TASKS: Final = (str(_PACKAGE / "apps" / "asgi" / "http.py"), "_run")

_Place: TypeAlias = tuple[FrameType, int]
"""A frame and the line that it is at."""


def of_thread(ident: int) -> StackSummary:
    """Return the calls that a thread is in, the most recent last; an empty stack if there is no such thread.

    Of a thread that waits in an event loop, return the tasks of that loop.
    """
    frame = sys._current_frames().get(ident)
    if frame is None:
        return StackSummary()
    places = list(traceback.walk_stack(frame))
    if frame.f_globals.get("__name__") == "selectors":
        for frame, _ in places:
            if frame.f_code.co_name == "run_forever":
                return _of_tasks(frame.f_locals.get("self"))
    return _cut(reversed(places))


def of_frame(frame: FrameType | None) -> StackSummary:
    """Return the calls that lead to this frame, the most recent last."""
    return StackSummary() if frame is None else _cut(reversed(list(traceback.walk_stack(frame))))


def of_coroutine(coroutine: Coroutine[Any, Any, Any]) -> StackSummary:
    """Return the coroutines that this one waits in, the innermost last; an empty stack if it has ended."""
    return _cut(_awaited(coroutine))


def _of_tasks(events: Any) -> StackSummary:
    tasks = sys.modules["asyncio"].all_tasks(events)
    return StackSummary.from_list([place for task in tasks for place in of_coroutine(task.get_coro())])


def _awaited(coroutine: Any) -> Iterator[_Place]:
    """Yield the place of a coroutine, of the one that it awaits, and so on; generators too, as of types.coroutine."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _cut(places: Iterable[_Place]) -> StackSummary:
    """Return the stack from the app's own code on, if it has come to that."""
    stack = StackSummary.extract(iter(places), lookup_lines=False)
    begin = 0
    for number, frame in enumerate(stack):
        if _begins_call(frame):  # before this: our way to the call
            begin = number
    own = begin
    while own < len(stack) and stack[own].filename.startswith(_OURS):
        own += 1
    return StackSummary.from_list(stack[own if own < len(stack) else begin :])


def _begins_call(frame: FrameSummary) -> bool:
    return frame.filename.startswith(_CALLERS) or (frame.filename, frame.name) == _TASKS
