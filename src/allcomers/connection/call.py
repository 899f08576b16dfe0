"""An app's call, what it reports of itself rather than of its response, and to whom."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from allcomers.protocol.compiled import Server

Address: TypeAlias = tuple[str, int, Server]
"""A peer's host and port, and the address that it connected to: ("127.0.0.1", 50000, ("127.0.0.1", 8000)); on a Unix
socket ("", 0, ("/run/app.sock", None))."""


Delivery: TypeAlias = tuple[int, int | None, float, Any]
"""What waits until its bytes have gone out: the mark (`codec.queued` at its end); the status of a response that is
counted then, and the time of its request, or None; what _delivered() is to finish, or None."""


class Call(Protocol):
    """An app's call, to be run anywhere, once. It does not raise; what it returns goes to answered() with it.

    One that a time limit is to end has a `name` and `forget`, too: see http.handler_call.HandlerCall. One of an
    HTTP connection has the `exchange` that it belongs to. One that need not be made where nobody waits for its result
    any more has `is_awaited`, a bool that any thread may read.
    """

    def __call__(self) -> Any: ...


class CallStatus(enum.Enum):
    """What a call reports of itself rather than of its response.

    PENDING    from a call: it runs on, on an event loop, and sends its response to the driver's said()
    CONSUMED   to said(): the call has consumed what it was given, and looks for more
    TIMED_OUT  to answered(): the call takes too long; it runs on, and closes what it has open itself
    FAILED     to answered(): the call has raised, as no call should; that was reported, and its connection ends
    OVERLOADED to answered(): the call was refused, and never began
    DROPPED    to answered(): the call never began, for nobody waits for its result any more
    """

    PENDING = enum.auto()
    CONSUMED = enum.auto()
    TIMED_OUT = enum.auto()
    FAILED = enum.auto()
    OVERLOADED = enum.auto()
    DROPPED = enum.auto()


PENDING: Final = CallStatus.PENDING
CONSUMED: Final = CallStatus.CONSUMED
TIMED_OUT: Final = CallStatus.TIMED_OUT
FAILED: Final = CallStatus.FAILED
OVERLOADED: Final = CallStatus.OVERLOADED
DROPPED: Final = CallStatus.DROPPED


class PartialResponse:
    """A part of a response whose call runs on, for answered().

    data     a Response or a StreamingBody, which begins the response; a further piece; or EndOfBody.COMPLETE: only the
             call's own reply follows
    on_sent  called once: with None when the part has gone out, else with the reason why it never will
    on_begun called with the StreamingBody that the connection frames, once the head of a beginning is queued
    over     bool: `on_sent` was called
    call     the call that it belongs to, as answered() has it; set by a driver that has several
    """

    __slots__ = ("call", "data", "on_begun", "on_sent", "over")

    def __init__(
        self,
        data: Any,
        on_sent: Callable[[Exception | None], object],
        on_begun: Callable[[Any], object] | None = None,
    ) -> None:
        self.data = data
        self.on_sent = on_sent
        self.on_begun = on_begun
        self.over = False
        self.call: Any = None

    def end(self, error: Exception | None) -> None:
        """Report that the part has gone out, or why it never will."""
        self.over = True
        self.on_sent(error)


class ResponseOutflow(Protocol):
    """The response of a call, which sends it while it runs on (calls.outflow.Outflow)."""

    def begin(self, beginning: Any, size: int) -> None:
        """Send the head, and a first piece of `size` bytes. Raises AnswerError for a head that cannot be sent, and
        ClientGone."""
        ...

    def write(self, data: bytes) -> None:
        """Take a further piece over. Raises ClientGone; OSError where it cannot be kept."""
        ...

    def stop(self) -> None:
        """Take nothing more: the response has been ended. Called in any thread."""
        ...

    def finish(self, end: Any) -> Any:
        """Return the reply of a call that gives no more, and whose response comes to this EndOfBody."""
        ...


class Driver(Protocol):
    """What a connection, and the call that runs for it, know of the driver."""

    def post(self, call: Any, reply: Any) -> bool:
        """Handle `reply` of `call`, which answers later. In the thread of the loop, never from within a report.

        Return whether it is a piece that the socket has taken whole: then no step asks for the next."""
        ...

    def said(self, reply: Any) -> bool:
        """Handle a reply of the one call that runs: see post()."""
        ...

    def send_now(self, data: bytes) -> int:
        """Return how many of these bytes the socket has taken, before which nothing waits; 0 also for an error, which
        is met again with the rest. In the thread of the loop, in any step."""
        ...

    def outflow(self, call: Any = None) -> ResponseOutflow | None:
        """Return what sends the response of `call`, which runs in this thread, and is as answered() has it; None in the
        thread of a loop, which must not wait."""
        ...

    def cut(self) -> None:
        """End this peer soon, which holds too much. In any step of the thread of a loop; else in any thread."""
        ...

    def fileno(self) -> int:
        """Return the peer's socket."""
        ...

    def disconnected(self, *, both: bool = False) -> bool:
        """Return whether the client has closed its side, or is gone; `both`: whether it reads no more, either. In any
        thread."""
        ...

    def app_socket(self) -> Any:
        """Return a socket with which the call that runs may reach its client itself; None where it cannot have one."""
        ...
