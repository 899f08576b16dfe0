"""The end of a process that has run an app: as Python's own, but in time.

Python joins the threads that are no daemons, lets executors finish their jobs, and calls the functions of atexit. A
process that was forked must end by os._exit(), so all that is done here before. It may take until a deadline: then the
log tells what still runs, and the process ends. Processes that the app has started, and has left, are told to end
(descendants.py).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from allcomers.system.native.primitives import Lock, waitpid
from allcomers.system.native.threads import CallThread, start_thread
from allcomers.system.processes import descendants
from allcomers.system.processes.descendants import Process

_logger = logging.getLogger("allcomers.worker")

_LOOK: Final = 0.1
"""Seconds between two looks whether there is less time than there was."""


def is_needed() -> bool:
    """Return whether the app has left anything in this process that Shutdown would wait for, or end."""
    return bool(_app_threads() or atexit._ncallbacks() or descendants.children(os.getpid()))


def _app_threads() -> list[threading.Thread]:
    """Return the threads of the app that keep this process from its end."""
    others = [thread for thread in threading.enumerate() if not (thread.daemon or isinstance(thread, CallThread))]
    return [thread for thread in others if thread is not threading.main_thread()]


class Shutdown:
    """The end of this process.

    until   returns the time, on the monotonic clock, until which the app may take
    least   seconds that the app has in any case, and the processes that it has left as long again
    flush   writes what is buffered; called last
    status  the exit status
    """

    def __init__(self, until: Callable[[], float], least: float, flush: Callable[[], object], status: int) -> None:
        self._until = until
        self._least = least
        self._flush = flush
        self._status = status
        self._since = monotonic()
        self._turn = Lock()  # taken by the thread that ends the process

    def run(self, wait: Callable[[float], object]) -> NoReturn:
        """End the process, after all that Python does at its end. Call in the main thread.

        wait  waits so many seconds for what may move the time `until`; called in another thread
        """
        with suppress(RuntimeError, MemoryError):  # no thread can start: the parent ends what takes too long
            start_thread(self._end_late, wait, name="shutdown")
        _leave_python()
        self._turn.acquire()
        self._end()

    def _deadline(self) -> float:
        return max(self._since + self._least, self._until())

    def _end_late(self, wait: Callable[[float], object]) -> None:
        while (left := self._deadline() - monotonic()) > 0:
            wait(min(left, _LOOK))
        if self._turn.acquire(blocking=False):
            with suppress(Exception):
                _logger.warning("this process ends, and cuts off what the app still runs: %s", _running())
            self._end()

    def _end(self) -> NoReturn:
        self._since = monotonic()
        try:
            _end_children(self._deadline)
            self._flush()
        finally:
            os._exit(self._status)


def _leave_python() -> None:
    """Do what Python does at its end, in its order (Py_FinalizeEx)."""
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        try:
            step()
        except SystemExit:
            pass
        except BaseException as error:
            _logger.error("the app's end failed", exc_info=error)


def _running() -> str:
    """Return the threads that keep this process from its end, each with its stack: the main thread if there is no
    other, for then it runs a function of atexit."""
    return "\n".join(_described(thread) for thread in _app_threads() or [threading.main_thread()])


def _described(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = "".join(traceback.format_stack(frame)).rstrip() if frame else "its end"
    return f"the thread {thread.name!r}, at\n{stack}"


def _end_children(deadline: Callable[[], float]) -> None:
    """End the processes that the app has left, but multiprocessing's own two: they end by themselves behind this one,
    and the tracker of resources has yet to remove what was left in shared memory."""
    spared = {_pid_of("resource_tracker", "_pid"), _pid_of("forkserver", "_forkserver_pid")}

    def find() -> set[Process]:
        found = descendants.descendants(os.getpid()) | descendants.remembered()
        return {process for process in found if process.pid not in spared}

    told, killed = descendants.end_all(find, deadline, _reap)
    if told:
        _logger.info("processes that the app had left were told to end: %s", _ids(told))
    if killed:
        _logger.warning("processes that did not end in time were killed: %s", _ids(killed))


def _pid_of(name: str, attribute: str) -> int | None:
    """Return the id of a process that this module of multiprocessing has started, if it has."""
    module = sys.modules.get(f"multiprocessing.{name}")
    return getattr(getattr(module, f"_{name}", None), attribute, None)


def _ids(processes: set[Process]) -> str:
    return ", ".join(str(process.pid) for process in sorted(processes))


def _reap() -> None:
    with suppress(ChildProcessError):
        while waitpid(-1, os.WNOHANG)[0]:
            pass
