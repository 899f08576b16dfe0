"""What a call says of itself rather than of its answer, and to whom."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, Protocol


class Sign(enum.Enum):
    """What a call says of itself rather than of its answer.

    LATER    from a call: it runs on, on an event loop, and the driver's said() will be told the answer
    TAKEN    to said(): the call has taken what it was given, and looks at what else is there
    OVERDUE  to answered(): the call takes too long; it runs on, and closes what it has open itself
    """

    LATER = enum.auto()
    TAKEN = enum.auto()
    OVERDUE = enum.auto()


LATER: Final = Sign.LATER
TAKEN: Final = Sign.TAKEN
OVERDUE: Final = Sign.OVERDUE


class Part:
    """To answered(): a part of an answer, while its call runs on. The first is a Response, the others are bytes.

    told  called once: with None when it has gone out, else with why it never will
    sent  bytes that are queued of it, its head among them
    """

    __slots__ = ("said", "sent", "told")

    def __init__(self, said: Any, told: Callable[[Exception | None], object]) -> None:
        self.said = said
        self.told = told
        self.sent = 0


class Driver(Protocol):
    """What a connection, and the call that runs for it, know of who drives it."""

    def said(self, reply: Any) -> None:
        """A call that answers LATER says `reply`. In the thread of the loop, never from within a report."""
        ...

    def push(self, said: Any) -> bool:
        """The call that runs says a Part of its answer, and waits in its thread until that has gone out.

        False, and nothing is said, where this is the thread of a loop, which must not wait. Raises ClientGone, and
        AnswerError for a head that cannot be sent.
        """
        ...

    def fileno(self) -> int:
        """The peer's socket."""
        ...
