"""An app's call, what it reports of itself rather than of its response, and to whom."""

from __future__ import annotations

import enum
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeAlias

from allcomers.protocol.compiled import Server

Address: TypeAlias = tuple[str, int, Server]
"""A peer's host and port, and the address that it connected to: ("127.0.0.1", 50000, ("127.0.0.1", 8000)); on a Unix
socket ("", 0, ("/run/app.sock", None))."""


class Call(Protocol):
    """An app's call, to be run anywhere, once. It does not raise; what it returns goes to answered() with it.

    One that a time limit is to end has a `name` and `forget`, too: see http.handler_call.HandlerCall. One of an
    HTTP connection has the `exchange` that it belongs to.
    """

    def __call__(self) -> Any: ...


class CallStatus(enum.Enum):
    """What a call reports of itself rather than of its response.

    PENDING    from a call: it runs on, on an event loop, and sends its response to the driver's said()
    CONSUMED   to said(): the call has consumed what it was given, and looks for more
    TIMED_OUT  to answered(): the call takes too long; it runs on, and closes what it has open itself
    """

    PENDING = enum.auto()
    CONSUMED = enum.auto()
    TIMED_OUT = enum.auto()


PENDING: Final = CallStatus.PENDING
CONSUMED: Final = CallStatus.CONSUMED
TIMED_OUT: Final = CallStatus.TIMED_OUT


class PartialResponse:
    """A part of a response whose call runs on, for answered().

    data     a Response or a StreamingBody, which begins the response; a further piece; or EndOfBody.COMPLETE: only the
             call's own reply follows
    on_sent  called once: with None when the part has gone out, else with the reason why it never will
    over     bool: `on_sent` was called
    """

    __slots__ = ("data", "on_sent", "over")

    def __init__(self, data: Any, on_sent: Callable[[Exception | None], object]) -> None:
        self.data = data
        self.on_sent = on_sent
        self.over = False

    def end(self, error: Exception | None) -> None:
        """Report that the part has gone out, or why it never will."""
        self.over = True
        self.on_sent(error)


class Driver(Protocol):
    """What a connection, and the call that runs for it, know of the driver."""

    def post(self, call: Any, reply: Any) -> None:
        """Handle `reply` of `call`, which answers later. In the thread of the loop, never from within a report."""
        ...

    def said(self, reply: Any) -> None:
        """Handle a reply of the one call that runs: see post()."""
        ...

    def send(self, part: PartialResponse) -> bool:
        """Send a part of the response, from the thread of the call that runs; do not wait for more than must be.

        Return False, and send nothing, in the thread of a loop, which must not wait.
        """
        ...

    def push(self, said: Any) -> bool:
        """Send a part of the response and wait until it has gone out: see `push` below."""
        ...

    def fileno(self) -> int:
        """Return the peer's socket."""
        ...

    def app_socket(self) -> Any:
        """Return a socket with which the call that runs may reach its client itself; None where it cannot have one."""
        ...


def push(driver: Driver, data: Any) -> bool:
    """Send a part of the response whose call runs in this thread, and wait until it has gone out.

    Return False, and send nothing, in the thread of a loop, which must not wait. Raises ClientGone, and AnswerError
    for a head that cannot be sent.
    """
    results: SimpleQueue[Exception | None] = SimpleQueue()
    if not driver.send(PartialResponse(data, results.put)):
        return False
    if (error := results.get()) is not None:
        raise error
    return True
