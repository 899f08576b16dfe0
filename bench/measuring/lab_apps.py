"""Apps with a property that misleads: a model that seems right for a moment, or for few clients, is wrong for them.

python -m bench lab --apps Locked,Leaks,Computes,Crowded
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import allcomers

_TEXT = "Hello, World!"

_STEPS = 24_000
"""Additions that take some 2 ms of CPU."""


def _work(steps: int) -> int:
    return sum(number * number for number in range(steps))


class Locked(allcomers.Web):
    """It waits 2 ms with a lock, as for a file or a connection that all share: 500 requests/s, however many threads."""

    _lock = threading.Lock()

    def get(self, request: allcomers.Request) -> str:
        with self._lock:
            time.sleep(0.002)
        return _TEXT


class Leaks(allcomers.Web):
    """It keeps something of each request, and looks through the last of it: it grows, and gets slower at first."""

    _kept: ClassVar[list[bytes]] = []

    def get(self, request: allcomers.Request) -> str:
        self._kept.append(bytes(256))
        return f"{sum(map(len, self._kept[-2000:]))}\n"


async def Computes(  # noqa: N802 - the name of an app, as those beside it have theirs
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """It is async and works for 2 ms: the loop does nothing else meanwhile."""
    body = f"{_work(_STEPS)}\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class _Inside:
    """The calls that are under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def entered(self) -> Iterator[int]:
        """Yield how many there are, this one among them."""
        with self._lock:
            self._count += 1
            count = self._count
        try:
            yield count
        finally:
            with self._lock:
                self._count -= 1


class Crowded(allcomers.Web):
    """It waits 5 ms, and works the longer the more calls are under way: as a cache or a database that many share."""

    _inside = _Inside()

    def get(self, request: allcomers.Request) -> str:
        with self._inside.entered() as count:
            time.sleep(0.005)
            return f"{_work(100 * count)}\n"
