"""The primitives by which code waits, as they were before an app was loaded.

An app may replace them: gevent.monkey.patch_all() puts greenlets' in the place of the standard library's, in the
modules themselves. A lock made after that suspends a greenlet, and its thread waits for others that are not there; a
`select` without epoll(7) watches nothing. So all that waits here takes these, and this is imported first.

A name that the system does not have is None.
"""

from __future__ import annotations

import select as _select
import selectors as _selectors
import signal as _signal
import socket as _socket
import threading
from _thread import RLock as RLock
from _thread import get_ident as get_ident
from _thread import start_new_thread as start_new_thread
from collections.abc import Callable
from os import close as close
from os import fork as fork
from os import waitpid as waitpid
from queue import SimpleQueue as SimpleQueue
from threading import Lock as Lock
from time import sleep as sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from select import epoll as epoll
    from select import poll as poll
else:
    epoll = getattr(_select, "epoll", None)
    poll = getattr(_select, "poll", None)

kqueue: Final[Any] = getattr(_select, "kqueue", None)
kevent: Final[Any] = getattr(_select, "kevent", None)
select: Final = _select.select
set_signal: Final = _signal.signal
get_signal: Final = _signal.getsignal
set_wakeup_fd: Final = _signal.set_wakeup_fd
Socket: Final = _socket.socket

SELECTORS: Final[dict[str, Any]] = {name: kind for name, kind in vars(_selectors).items() if name.endswith("Selector")}
"""The selectors of asyncio's own loops, by name."""


class Poll(Protocol):
    """The part of select.poll that is used."""

    def register(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]: ...


class Mutex(Protocol):
    """The part of threading.Lock that is used."""

    def acquire(self) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *_: Any) -> object: ...


class Primitives(NamedTuple):
    """The primitives by which a blocking model waits: threads', or greenlets'.

    poll       makes an object that waits for descriptors, as select.poll
    lock       makes a lock
    get_ident  returns the number of the thread that calls it
    sleep      waits for so many seconds
    """

    poll: Callable[[], Poll]
    lock: Callable[[], Mutex]
    get_ident: Callable[[], int]
    sleep: Callable[[float], object]


NATIVE: Final = Primitives(poll, Lock, get_ident, sleep)
"""Those of the system's threads and processes."""


def are_patched() -> bool:
    """Return whether the standard library has other threads than these now: gevent's greenlets."""
    return threading.get_ident is not get_ident


def are_native() -> bool:
    """Return whether these are the system's: they are not where gevent had patched the process before."""
    return get_ident.__module__ == "_thread" and SimpleQueue.__module__ == "_queue"
