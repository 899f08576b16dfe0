"""What a call says of itself rather than of its answer, and to whom."""

from __future__ import annotations

import enum
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


class Driver(Protocol):
    """What a connection whose calls run on an event loop knows of who drives it."""

    def said(self, reply: Any) -> None:
        """A call that answers LATER says `reply`. In the thread of the loop, never from within a report."""
        ...
