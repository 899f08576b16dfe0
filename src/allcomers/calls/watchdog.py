"""Watchdog: a thread that looks, again and again, whether something lasts too long.

It sleeps for as long as the look function says. When that says that there is nothing to wait for, it sleeps until
ring(), which costs a call that begins nothing while the thread is awake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


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
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # for the start of the thread
        self._bell = threading.Event()

    def ring(self) -> None:
        """Wake the thread, or start it. Do nothing where the system has no thread left: the next ring() tries again."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return
                self._thread = thread
            self._on_idle(False)
        self._bell.set()

    def _run(self) -> None:
        while True:
            pause = self._look()
            if pause is None:
                self._on_idle(True)
                pause = self._look()  # what began just before has not rung
                if pause is None:
                    self._bell.wait()
                self._bell.clear()
                self._on_idle(False)
            if pause is not None:
                time.sleep(pause)
