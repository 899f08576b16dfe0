"""Threads of the system, and what they wait at: Condition and Event of `threading`, made of native locks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVarTuple, Unpack

from allcomers.system.native import primitives
from allcomers.system.native.primitives import Lock, RLock, start_new_thread

Ts = TypeVarTuple("Ts")


def start_thread(run: Callable[[Unpack[Ts]], object], *args: *Ts, name: str | None = None) -> None:
    """Start a daemon thread that runs `run(*args)`. Raises RuntimeError where the system has none left, MemoryError.

    A daemon: what it runs may never return, and must not keep a process that was told to stop.
    """
    if primitives.are_patched():  # threading.Thread is a greenlet
        start_new_thread(_run, (run, args, name))
    else:
        CallThread(target=run, args=args, name=name, daemon=True).start()


class CallThread(threading.Thread):
    """A thread of the server's, which may run calls of the app: nobody waits for its end.

    Python has threads inherit that from the one that starts them (`daemon`). The app's are not to: so it is set back.
    """

    def run(self) -> None:
        self._daemonic = False
        try:
            super().run()
        finally:
            drop_hub()


def _run(run: Callable[..., object], args: tuple[Any, ...], name: str | None) -> None:
    """Run a thread that `threading` does not know."""
    try:
        if name is not None:
            threading.current_thread().name = name
        run(*args)
    except BaseException as error:
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
    finally:
        drop_hub()


def load_hubs() -> None:
    """Load what gevent loads with its first hub, in a thread that ends: two that did so at once would fail."""
    over = Lock()
    over.acquire()

    def load() -> None:
        try:
            hub = sys.modules["gevent"].get_hub()
            hub.resolver, hub.threadpool  # noqa: B018 - loaded when they are asked for
        finally:
            drop_hub()
            over.release()

    start_thread(load, name="gevent")
    over.acquire()


def drop_hub() -> None:
    """Close gevent's loop of this thread, if its calls have waited in one: nobody else does."""
    gevent = sys.modules.get("gevent._hub_local")
    hub = None if gevent is None else gevent.get_hub_if_exists()
    if hub is not None:
        hub.destroy(destroy_loop=True)


class Condition:
    """As threading.Condition: a lock that may be entered again, and a wait for what is changed under it.

    A thread that waits has entered it once.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._waiting: list[Any] = []  # of each thread that waits, a lock that notify_all() releases

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, is_there: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait until `is_there()`, for `timeout` seconds at most. Return whether it is. Call with the lock held."""
        until = None if timeout is None else monotonic() + timeout
        while not is_there():
            left = -1.0 if until is None else until - monotonic()
            if until is not None and left <= 0:
                return False
            self._wait(left)
        return True

    def _wait(self, timeout: float) -> None:
        bell = Lock()
        bell.acquire()
        self._waiting.append(bell)
        self._lock.release()
        try:
            bell.acquire(timeout=timeout)
        finally:
            self._lock.acquire()
            if bell in self._waiting:
                self._waiting.remove(bell)

    def notify_all(self) -> None:
        """Have all threads that wait look again. Call with the lock held."""
        waiting, self._waiting = self._waiting, []
        for bell in waiting:
            bell.release()


class Event:
    """As threading.Event: set once, until it is cleared."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_set = False

    def set(self) -> None:
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._is_set = False

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for `timeout` seconds at most. Return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_set, timeout)
