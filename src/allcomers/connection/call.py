"""What a call says of itself rather than of its answer, and to whom."""

from __future__ import annotations

import enum
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Protocol


class CallStatus(enum.Enum):
    """What a call says of itself rather than of its answer.

    PENDING    from a call: it runs on, on an event loop, and the driver's said() will be told the answer
    CONSUMED    to said(): the call has taken what it was given, and looks at what else is there
    TIMED_OUT  to answered(): the call takes too long; it runs on, and closes what it has open itself
    """

    PENDING = enum.auto()
    CONSUMED = enum.auto()
    TIMED_OUT = enum.auto()


PENDING: Final = CallStatus.PENDING
CONSUMED: Final = CallStatus.CONSUMED
TIMED_OUT: Final = CallStatus.TIMED_OUT


class PartialResponse:
    """A part of an answer whose call runs on, for answered().

    said  a Response or a StreamingBody, which begins the answer; a further piece; or EndOfBody.COMPLETE: only the reply
          follows
    told  called once: with None when it has gone out, else with why it never will
    sent  bytes that are queued of it, its head among them
    over  bool: `told` was called
    """

    __slots__ = ("over", "said", "sent", "told")

    def __init__(self, said: Any, told: Callable[[Exception | None], object]) -> None:
        self.said = said
        self.told = told
        self.sent = 0
        self.over = False

    def end(self, error: Exception | None) -> None:
        """Report that it has gone out, or why it never will."""
        self.over = True
        self.told(error)


class Driver(Protocol):
    """What a connection, and the call that runs for it, know of who drives it."""

    def said(self, reply: Any) -> None:
        """A call that answers LATER says `reply`. In the thread of the loop, never from within a report."""
        ...

    def send(self, part: PartialResponse) -> bool:
        """Have a part of the answer sent, from the thread of the call that runs; do not wait for more than must be.

        False, and nothing is sent, where this is the thread of a loop, which must not wait.
        """
        ...

    def push(self, said: Any) -> bool:
        """Send a part of the answer and wait until it has gone out: see `push` below."""
        ...

    def fileno(self) -> int:
        """The peer's socket."""
        ...

    def app_socket(self) -> Any:
        """A socket with which the call that runs may speak with its client itself; None where it cannot have one."""
        ...


def push(driver: Driver, said: Any) -> bool:
    """Send a part of the answer whose call runs in this thread, and wait until it has gone out.

    False, and nothing is sent, where this is the thread of a loop, which must not wait. Raises ClientGone, and
    AnswerError for a head that cannot be sent.
    """
    told: SimpleQueue[Exception | None] = SimpleQueue()
    if not driver.send(PartialResponse(said, told.put)):
        return False
    if (error := told.get()) is not None:
        raise error
    return True
