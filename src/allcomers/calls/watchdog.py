"""Watchdog: a thread that looks, again and again, whether something lasts too long.

It sleeps for as long as the look function says. When that says that there is nothing to wait for, it sleeps until
ring(), which costs a call that begins nothing while the thread is awake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allcomers.system.native.primitives import sleep
from allcomers.system.native.threads import Event, start_thread
from allcomers.system.processes.forks import new_lock

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
