"""The stacks of a process: of all threads, tasks and greenlets now, and samples of the threads' in a span.

Taken by a thread of the process itself (sys._current_frames): it needs the interpreter for each sample, so a library
that keeps it makes a sample late, and is not seen at work.
"""

from __future__ import annotations

import gc
import linecache
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import monotonic, thread_time
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.system.native import primitives

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

DEPTH: Final = 200
"""Calls of a stack that are shown, the innermost."""

THREADS: Final = 256
TASKS: Final = 200
"""Threads that are shown, and tasks or greenlets."""

STACKS: Final = 20_000
"""Different stacks of a span that are kept."""

Stack: TypeAlias = tuple[CodeType, ...]
"""The functions of a stack, the outermost first."""


def now(events: AbstractEventLoop | None) -> list[dict[str, Any]]:
    """Return {name, kind, stack} of each thread but the one that calls, of the tasks of `events`, of greenlets.

    stack  [[function, file, line, source], …], the outermost call first
    """
    names = _names()
    found = [_shown(names.get(at, (f"thread {at}",))[0], "thread", _walk(frame)) for at, frame in _others()]
    tasks = [] if events is None else list(sys.modules["asyncio"].all_tasks(events))[:TASKS]
    found += [_shown(task.get_name(), "task", _awaited(task.get_coro())) for task in tasks]
    return found + _greenlets()


def sample(seconds: float, rate: float) -> dict[str, Any]:
    """Sample the stacks of all threads but the one that calls, `rate` times a second.

    Return {seconds, samples, cost, threads: [{name, cpu, stacks: [[[frame's number, …], samples], …]}, …],
    frames: [[function, file, line], …]}; `cost` is the CPU time in seconds that sampling took, `cpu` a thread's own.
    """
    counts: dict[int, Counter[Stack]] = {}
    before, began, own = _cpu_times(), monotonic(), thread_time()
    names = _names()
    number = kept = 0
    while (elapsed := monotonic() - began) < seconds:
        number += 1
        for ident, frame in _others():
            stacks, stack = counts.setdefault(ident, Counter()), _functions(frame)
            if kept < STACKS or stack in stacks:
                kept += stack not in stacks
                stacks[stack] += 1
        primitives.sleep(max(0.0, number / rate - (monotonic() - began)))
    cost, after, names = thread_time() - own, _cpu_times(), names | _names()
    frames: dict[CodeType, int] = {}
    threads = []
    for ident, stacks in counts.items():
        name, native = names.get(ident, (f"thread {ident}", None))
        listed = [[[frames.setdefault(code, len(frames)) for code in stack], count] for stack, count in stacks.items()]
        used = max(0.0, after.get(native, 0.0) - before.get(native, 0.0))
        threads.append({"name": name[:100], "cpu": used, "stacks": listed})
    shown = [[code.co_qualname, code.co_filename, code.co_firstlineno] for code in frames]
    return {"seconds": elapsed, "samples": number, "cost": cost, "threads": threads, "frames": shown}


def _names() -> dict[int | None, tuple[str, int | None]]:
    """Return the name of each thread and the number that the system gives it."""
    return {thread.ident: (thread.name, thread.native_id) for thread in threading.enumerate()}


def _others() -> list[tuple[int, FrameType]]:
    own = primitives.get_ident()
    return [(ident, frame) for ident, frame in sys._current_frames().items() if ident != own][:THREADS]


def _functions(frame: FrameType | None) -> Stack:
    codes: list[CodeType] = []
    while frame is not None and len(codes) < DEPTH:
        codes.append(frame.f_code)
        frame = frame.f_back
    return tuple(reversed(codes))


def _cpu_times() -> dict[int | None, float]:
    """Return the CPU time of each thread of this process, in seconds, by the number that the system gives it."""
    found: dict[int | None, float] = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            found[int(path.parent.name)] = int(path.read_bytes().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):  # it has ended
            continue
    return found


# ------------------------------------------------------------ stacks now

_Place: TypeAlias = tuple[CodeType, int]
"""A function and the line that it is at."""


def _shown(name: str, kind: str, places: Iterable[_Place]) -> dict[str, Any]:
    stack = [
        [code.co_qualname, code.co_filename, line, linecache.getline(code.co_filename, line).strip()[:200]]
        for code, line in places
    ]
    return {"name": name[:100], "kind": kind, "stack": stack[-DEPTH:]}


def _walk(frame: FrameType | None) -> list[_Place]:
    places: list[_Place] = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return places[::-1]


def _awaited(coroutine: Any) -> list[_Place]:
    """Return the places of a coroutine, of the one that it awaits, and so on."""
    places: list[_Place] = []
    while coroutine is not None and len(places) < DEPTH:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        places.append((frame.f_code, frame.f_lineno or 0))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return places


def _greenlets() -> list[dict[str, Any]]:
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return []
    found = [thing for thing in gc.get_objects() if isinstance(thing, greenlet.greenlet) and thing.gr_frame is not None]
    return [_shown(type(each).__name__, "greenlet", _walk(each.gr_frame)) for each in found[:TASKS]]
