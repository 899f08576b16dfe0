"""Processes that this one, or another, has left: found in /proc, told to end, then killed. Linux; elsewhere none is
found.

A process that has made a session of its own (setsid(2), `start_new_session` of subprocess) is a daemon on purpose: it
is left alone, with all that it has started.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

_LOOK: Final = 0.01
"""Seconds between two looks for processes that are to end."""

_PR_SET_CHILD_SUBREAPER: Final = 36


class Process(NamedTuple):
    """A process, which no later one with the same id equals.

    born  when it was started, in ticks since the system's start (proc_pid_stat(5))
    """

    pid: int
    born: int


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own has ended (prctl(2), PR_SET_CHILD_SUBREAPER); on Linux only, else
    do nothing."""
    import ctypes  # late: it takes 5 ms

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[Process]:
    """Return the children of a process, those that have ended and were not collected among them."""
    found: list[Process] = []
    with suppress(OSError, ValueError):  # it has ended; or there is no /proc
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [_process(int(child)) for child in (task / "children").read_text().split()]
    return found


def _process(pid: int) -> Process:
    state, born = _status(pid)
    return Process(pid, born if state != "Z" else 0)


def _status(pid: int) -> tuple[str, int]:
    """Return the state of a process, and when it was started; ("Z", 0) for none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "Z", 0
    return fields[0].decode(), int(fields[19])


def descendants(pid: int, spared: Container[int] = ()) -> set[Process]:
    """Return the children of a process, their children and so on: those that run, in the session of this process.

    spared  children that are left out, with theirs
    """
    found: set[Process] = set()
    new = [pid]
    while new:
        running = [child for child in children(new.pop()) if child.born and child.pid not in spared]
        own = {child for child in running if _is_of_session(child.pid)}
        new += [child.pid for child in own - found]
        found |= own
    return found


_remembered: Final[set[Process]] = set()


def remember(pid: int) -> None:
    """Keep in mind the descendants of a process that is about to be killed: who is their parent then, is open."""
    _remembered.update(descendants(pid))


def remembered() -> set[Process]:
    """Return those that were kept in mind, and still run."""
    _remembered.intersection_update({process for process in _remembered if _process(process.pid) == process})
    return set(_remembered)


def _is_of_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def tell(processes: Iterable[Process], signum: int) -> None:
    """Send a signal to each of these that still runs."""
    for process in processes:
        with suppress(OSError):
            if _process(process.pid) == process:
                os.kill(process.pid, signum)


def end_all(
    find: Callable[[], set[Process]], until: Callable[[], float], reap: Callable[[], object]
) -> tuple[set[Process], set[Process]]:
    """Tell all processes that `find` finds to end, and kill those that have not at `until`, on the monotonic clock.

    Return those that were told, and those that were killed. `reap` collects those that have ended.
    """
    told: set[Process] = set()
    killed: set[Process] = set()
    while left := find() | {process for process in told if _process(process.pid) == process}:
        is_late = monotonic() >= until()
        new = left - (killed if is_late else told)
        if is_late and not new:  # they end when the kernel lets them
            break
        tell(new, signal.SIGKILL if is_late else signal.SIGTERM)
        (killed if is_late else told).update(new)
        sleep(_LOOK)
        reap()
    return told | killed, killed
