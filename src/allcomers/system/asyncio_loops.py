"""asyncio event loops for apps, whose add_signal_handler() leaves the server its own signals.

A loop of asyncio or uvloop takes the process's wake-up descriptor for itself as soon as an app adds a handler
(signal.set_wakeup_fd), and gives the signal its default action back when the app removes it. Then the server would
not receive TERM. Here an app's handler is one of Python's own (signal.signal): the number of the signal still
comes to the server (signals.py), which stops at TERM whatever else the app does.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import selectors
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final, TypeVarTuple, Unpack

from allcomers.system.native.primitives import SELECTORS, set_signal
from allcomers.system.processes import forks

Ts = TypeVarTuple("Ts")

_OF_UVLOOP: Final = 9
"""Descriptors that a loop of uvloop must find: as it begins to run it takes 9, of which it keeps 7. Where it finds less
than 4, it aborts the process."""


class SignalHandlers(asyncio.AbstractEventLoop):
    """The methods of an event loop that deal with signals, to stand before those of a loop's own."""

    _before: dict[int, Any] | None = None  # of each signal that the app handles, the handler that was there

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Call `callback(*args)` in the loop each time that `sig` comes.

        Raises RuntimeError outside the main thread, for a signal that cannot be handled, and where the loop is closed;
        ValueError for no signal; TypeError for a coroutine function.
        """
        if inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        context = contextvars.copy_context()

        def handle(signum: int, frame: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(callback, *args, context=context)

        before = _set(sig, handle)
        self._before = {sig: before, **(self._before or {})}

    def remove_signal_handler(self, sig: int) -> bool:
        """Put back the handler that was there before the app's. Return whether the app had one."""
        if self._before is None or sig not in self._before:
            return False
        before = self._before.pop(sig)
        _set(sig, signal.SIG_DFL if before is None else before)
        return True

    def close(self) -> None:
        for sig in list(self._before or ()):
            with suppress(RuntimeError):  # not the main thread
                self.remove_signal_handler(sig)
        super().close()


def _set(sig: int, handler: Any) -> Any:
    """Set the handler of a signal. Return the one before it. Raises RuntimeError, ValueError."""
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")
    try:
        before = set_signal(sig, handler)
        signal.siginterrupt(sig, False)
    except (ValueError, OSError) as error:  # not the main thread; KILL or STOP
        raise RuntimeError(f"signal {sig} cannot be handled here: {error}") from None
    return before


class SelectorLoop(SignalHandlers, asyncio.SelectorEventLoop):
    """asyncio's own event loop."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        try:
            super().__init__(selector)
        except BaseException:  # there is no descriptor for its pipe
            selector.close()
            self._closed = True  # else its __del__() closes a pipe that it has not
            raise
        forks.keep(self)

    def filenos(self) -> list[int]:
        """Return the descriptors of its selector and of the pipe that wakes it; none once it is closed."""
        parts: list[Any] = [getattr(self, name, None) for name in ("_selector", "_ssock", "_csock")]
        return [part.fileno() for part in parts if hasattr(part, "fileno")] if not self.is_closed() else []


@cache
def _uvloop() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None

    class UvLoop(SignalHandlers, uvloop.Loop):  # type: ignore[misc, name-defined, unused-ignore]
        """uvloop's event loop."""

        def __init__(self) -> None:
            super().__init__()
            forks.keep(self)

        def filenos(self) -> list[int]:
            """Return the descriptor of its poller; none once it is closed."""
            return [] if self.is_closed() else [self._get_backend_id()]  # type: ignore[attr-defined, unused-ignore]

    return UvLoop


def new_selector_loop(selector: str = "DefaultSelector") -> asyncio.AbstractEventLoop:
    """Return asyncio's own loop on the selector of this name in the module `selectors`. Raises OSError, for want of
    descriptors: it needs three."""
    return SelectorLoop(SELECTORS[selector]())


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's loop where that is installed, else asyncio's own. Raises OSError, for want of descriptors."""
    kind = _uvloop()
    if kind is None:
        return new_selector_loop()
    _try_descriptors()
    return kind()


def _try_descriptors() -> None:
    """Raise OSError where there are too few descriptors for a loop of uvloop, which would abort the process."""
    taken = []
    try:
        for _ in range(_OF_UVLOOP):
            taken.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - those before one that fails are closed
    finally:
        for fd in taken:
            os.close(fd)
