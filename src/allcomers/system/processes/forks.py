"""Copies of a worker that its app makes (os.fork, multiprocessing): a copy gets nothing that is the server's.

A copy has the memory and the descriptors of its parent. A signal to it would be read by the parent, from their common
pipe; its listeners would keep the port, its sockets the clients. So os.register_at_fork() gives each copy the default
signals, and /dev/null in the place of each descriptor of the server's. They are replaced, not closed: the objects that
have these numbers are in the copy, too, and must not close, or write to, what the copy opens later.

A copy that comes back from the app's call into the server's code ends (leave()): it could serve nobody.

Forks of the server's own are no copies: own() marks them. Programs (subprocess, posix_spawn) get no such descriptor,
because all are closed by execve(2).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, Protocol
from weakref import WeakSet

from allcomers.system.native.primitives import Lock, get_signal, set_signal, set_wakeup_fd

_logger = logging.getLogger("allcomers.worker")

_BLOCKED: Final = 1.0
"""Seconds for which a fork waits for a thread that writes to the log."""

is_copy = False
"""Whether this process is a copy."""

has_copies = False
"""Whether a copy of this process was made: it may have had a peer's socket when that was accepted."""


class DescriptorOwner(Protocol):
    """An object with descriptors that no copy may have."""

    def filenos(self) -> Iterable[int]:
        """Return them as they are now; those below 0 count for none."""
        ...


_owners: Final[WeakSet[DescriptorOwner]] = WeakSet()
_locks: Final[WeakSet[threading.Lock]] = WeakSet()
_actions: list[Callable[[], object]] = []
_state: Final = threading.local()  # of a fork: `mask`, the signals that were blocked before; `own`, whether it is ours
_null = -1


def keep(owner: DescriptorOwner) -> None:
    """Keep the descriptors of `owner` from copies, for as long as it lives."""
    _owners.add(owner)


def new_lock() -> threading.Lock:
    """Return a lock that is free in each copy, whoever had it in the parent."""
    lock = Lock()
    _locks.add(lock)
    return lock


def install(filenos: Callable[[], Iterable[int]], in_copy: Callable[[], object]) -> None:
    """Make copies of this process, a worker, as described above; once.

    filenos  returns descriptors that no copy may have, beside those of keep()
    in_copy  called in each copy
    """
    global _null
    _null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    _actions[:] = [lambda: _replace(filenos()), in_copy]
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


@contextmanager
def own() -> Iterator[None]:
    """Mark the forks that this thread makes as the server's own."""
    _state.own = True
    try:
        yield
    finally:
        _state.own = False


def _is_own() -> bool:
    return getattr(_state, "own", False)


def _before() -> None:
    """Block signals: until the copy has its own handlers, one that comes to it would be read by its parent."""
    _state.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _state.locks = [] if _is_own() else _acquire_logs()


def _acquire_logs() -> list[Any]:
    """Have no other thread write to the server's log at the fork: the stream beneath has a lock of its own, which
    nobody would release in the copy (bpo-6721). One that blocks for a second keeps nobody from forking. Return the
    locks, which logging itself frees in the copy."""
    handlers = logging.getLogger("allcomers").handlers
    locks = [logging._lock, *(handler.lock for handler in handlers)]  # type: ignore[attr-defined]
    return [lock for lock in locks if lock is not None and lock.acquire(timeout=_BLOCKED)]


def _after_in_parent() -> None:
    global has_copies
    for lock in _state.locks:
        lock.release()
    has_copies = has_copies or not _is_own()
    signal.pthread_sigmask(signal.SIG_SETMASK, _state.mask)


def _after_in_child() -> None:
    global is_copy
    try:
        if not _is_own():
            is_copy = True
            _give_up()
    finally:
        _state.own = False  # of this process: the next is the app's
        signal.pthread_sigmask(signal.SIG_SETMASK, _state.mask)


def _give_up() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # type: ignore[attr-defined]
    set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if (getattr(get_signal(signum), "__module__", None) or "").startswith("allcomers."):
            set_signal(signum, signal.SIG_DFL)
    for owner in list(_owners):
        _replace(owner.filenos())
    for action in _actions:
        action()


def _replace(filenos: Iterable[int]) -> None:
    for fd in filenos:
        if fd >= 0:
            with suppress(OSError):
                os.dup2(_null, fd, inheritable=False)


def leave() -> NoReturn:
    """End this copy, whose code has come back from the app's call."""
    text = "process %d, a copy of a worker, came back from the app's call and ends; it should end by os._exit()"
    with suppress(Exception):
        _logger.error(text, os.getpid())
    os._exit(1)
