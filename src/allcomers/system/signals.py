"""Orders and signals, read by a server in its own time.

An order is a byte in a pipe, which the loop that serves reads like any other input; any thread may write one.

A handler of signals interrupts the code that runs, and the data that it touches may be half changed. So here it does
nothing; the interpreter writes the signal's number into the same pipe (signal.set_wakeup_fd), and the loop acts on it
where it reads that.

A process has one such descriptor, and an app's event loop takes it (add_signal_handler), or gives a signal its default
action back (remove_signal_handler, close). So a worker looks after both, and a handler that finds the descriptor taken
writes the number itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from allcomers.system import descriptors
from allcomers.system.native.primitives import close, get_signal, set_signal, set_wakeup_fd
from allcomers.system.processes import forks

DRAIN: Final = 253
"""Finish the work that is begun, start no more."""

QUIT: Final = 254
"""Stop now."""

_SHORTAGE: Final = 252
"""A want of descriptors. No signal has such a number."""


_LOST: Final = (signal.SIG_DFL, signal.default_int_handler)
"""Handlers that a signal of ours has once other code has removed its own."""


def _nothing(signum: int, frame: object) -> None:
    """Handle a signal that is ignored."""


def ignore(*signums: int) -> None:
    """Ignore these signals, here and in processes that are forked; SIG_IGN would be passed on to programs, too.

    A program that an app starts has them as it expects them: execve(2) keeps SIG_IGN, and resets handlers.
    """
    for signum in signums:
        set_signal(signum, _nothing)


def ends_by(pid: int, signum: int) -> bool:
    """Return whether a process has no handler for a signal, nor ignores it (proc_pid_status(5)); False if unknown."""
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        kept = int(fields["SigCgt"], 16) | int(fields["SigIgn"], 16)
    except (OSError, ValueError, KeyError):
        return False
    return not kept >> signum - 1 & 1


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Block all signals around a fork: before the child calls forget(), its signals would be read as its parent's.

    The child calls release() when it can act on them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Unblock all signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


class Orders:
    """The orders to one server of this process.

    draining  bool: finish the work that is begun, start no more
    quitting  bool: stop now
    deadline  float: when draining becomes quitting, on the monotonic clock
    graceful_timeout  float: the seconds from the one to the other

    pipe      the descriptors of a pipe (to read, to write), into which another process may write orders; by default a
              new one
    """

    def __init__(self, graceful_timeout: float, pipe: tuple[int, int] | None = None) -> None:
        self.draining = False
        self.quitting = False
        self.deadline = float("inf")
        self.graceful_timeout = graceful_timeout
        self._actions: dict[int, Callable[[], object]] = {DRAIN: self.drain, QUIT: self.quit}
        self._reader, self._writer = pipe or os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def listen(self) -> None:
        """Have signals written into the pipe, where these orders have any; call again where other code has set another
        descriptor for them."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when an order has come."""
        return self._reader

    def filenos(self) -> tuple[int, int]:
        """Return the descriptors of the pipe; -1 after close()."""
        return self._reader, self._writer

    def on_order(self, order: int, action: Callable[[], object]) -> None:
        """Run `action` in read() after the byte `order`, no signal's, has come."""
        self._actions[order] = action

    def on_shortage(self, action: Callable[[], object]) -> None:
        """Run `action` in read() after code of this process, in any thread, has found no descriptor left."""
        self.on_order(_SHORTAGE, action)
        descriptors.on_shortage(partial(self.send, _SHORTAGE))

    def send(self, order: int) -> None:
        """Write an order, in any thread; where the pipe is full, it is lost."""
        with suppress(OSError):
            os.write(self._writer, bytes((order,)))

    def read(self) -> None:
        """Run the actions of the numbers that have come, in the order in which each came first."""
        try:
            numbers = os.read(self._reader, 4096)
        except OSError:  # nothing is there; or it is reported again
            return
        if forks.is_copy:
            forks.leave()
        self._act(numbers)

    def _act(self, numbers: bytes) -> None:
        for number, count in Counter(numbers).items():
            self._run(number, count)

    def _run(self, number: int, count: int) -> None:
        if (action := self._actions.get(number)) is not None:
            action()

    def drain(self) -> None:
        """Finish the work that is begun, until the graceful time-out."""
        if not self.draining:
            self.draining = True
            self.deadline = time.monotonic() + self.graceful_timeout

    def quit(self) -> None:
        """Stop now."""
        self.draining = self.quitting = True
        self.deadline = 0.0

    def give_back(self) -> None:
        """Give back what this process had before, and close the pipe: it goes on without a server."""
        self.close()

    def close(self) -> None:
        """Close the pipe."""
        descriptors.on_shortage(None)
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        close(reader)
        close(writer)


class Signals(Orders):
    """The orders and the signals of this process. One a process, made in its main thread."""

    def __init__(self, graceful_timeout: float, pipe: tuple[int, int] | None = None) -> None:
        super().__init__(graceful_timeout, pipe)
        self._counted: set[int] = set()
        self._handlers: dict[int, Callable[[int, Any], object]] = {}
        self._before: dict[int, Any] = {}  # the handlers that this process had before
        self._wakeup_before = set_wakeup_fd(-1)
        self._at_once: dict[int, Callable[[], object]] = {}
        self._on_taken: Callable[[], object] | None = None
        self._taker: tuple[int, tuple[int, int]] | None = None  # its descriptor, and the identity of the file behind it
        self.listen()

    def listen(self) -> None:
        """Direct the numbers of signals into the pipe; call again where other code has set another descriptor."""
        set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def look_after(self, on_taken: Callable[[], object]) -> None:
        """Have restore() run here and in each read(), and `on_taken` the first time that it has had to act."""
        self._on_taken = on_taken
        self.restore()

    def restore(self) -> None:
        """Set the descriptor and the handlers again that other code of this process has taken. Do nothing outside the
        main thread, where no code can take them."""
        try:
            taker = set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except (ValueError, OSError):  # another thread; or fstat(2) fails, and the next read() does it
            return
        lost = [signum for signum in self._handlers if get_signal(signum) in _LOST]
        for signum in lost:
            set_signal(signum, self._handlers[signum])
        if taker != self._writer:
            identity = _identity(taker)
            self._taker = None if identity is None else (taker, identity)
        if (lost or taker != self._writer) and self._on_taken is not None:
            action, self._on_taken = self._on_taken, _said
            action()

    def _pass_on(self, numbers: bytes) -> None:
        """Write the numbers of signals to the descriptor that other code had set: its event loop may live in a thread.

        Not to a file that has got the same number since.
        """
        if self._taker is not None:
            fd, identity = self._taker
            if _identity(fd) != identity:
                self._taker = None
                return
            with suppress(OSError):
                os.write(fd, bytes(number for number in numbers if number in signal.valid_signals()))

    def on(
        self,
        signum: int,
        action: Callable[[], object],
        *,
        each: bool = False,
        at_once: Callable[[], object] | None = None,
    ) -> None:
        """Run `action` in read() after `signum` has come: once however often it came, or for `each` time.

        The kernel too merges those that come before this process has received the first (signal(7)).

        at_once  runs in the signal's handler
        """
        self._actions[signum] = action
        if each:
            self._counted.add(signum)
        if at_once is not None:
            self._at_once[signum] = at_once
        self._handlers[signum] = self._handle
        before = set_signal(signum, self._handle)
        self._before.setdefault(signum, signal.SIG_DFL if before is None else before)

    def ignore(self, *signums: int) -> None:
        """Ignore these signals, as ignore() does, and look after that."""
        ignore(*signums)
        self._handlers.update(dict.fromkeys(signums, _nothing))

    def _handle(self, signum: int, frame: object) -> None:
        """Handle a signal whose number is in the pipe already, or is put there if other code has the descriptor.

        It keeps that here: its event loop may just run. read() takes it back.
        """
        if signum in self._at_once:
            self._at_once[signum]()
        try:
            taker = set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except OSError:  # of fstat(2): the number may not have come
            taker = -1
        if taker == self._writer:
            return
        with suppress(OSError):
            os.write(self._writer, bytes((signum,)))
        if taker >= 0:
            with suppress(ValueError, OSError):  # it is closed
                set_wakeup_fd(taker)

    def _act(self, numbers: bytes) -> None:
        if self._on_taken is not None:
            self.restore()
            self._pass_on(numbers)
        super()._act(numbers)

    def _run(self, number: int, count: int) -> None:
        for _ in range(count if number in self._counted else 1):
            super()._run(number, count)

    def end(self) -> None:
        """Ignore all signals: this process is about to end well, and none is to change that.

        As Python ends, it gives each signal that is handled its default action back; not one that is ignored.
        """
        for signum in self._before.keys() - {signal.SIGCHLD}:
            set_signal(signum, signal.SIG_IGN)

    def forget(self) -> None:
        """Restore the default actions and close the pipe, which is the parent's. Call in a process that was forked."""
        set_wakeup_fd(-1)
        for signum in self._before:
            set_signal(signum, signal.SIG_DFL)
        self.close()

    def give_back(self) -> None:
        for signum, handler in self._before.items():
            set_signal(signum, handler)
        set_wakeup_fd(self._wakeup_before)
        self.close()


def _said() -> None:
    """Do nothing when the descriptor is taken once more: that is known."""


def _identity(fd: int) -> tuple[int, int] | None:
    """Return (device, inode) of the file behind a descriptor; None if it is closed."""
    try:
        status = os.fstat(fd)
    except (OSError, OverflowError):
        return None
    return status.st_dev, status.st_ino
