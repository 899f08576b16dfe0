"""The call of an async app: its request may still come and its answer goes out while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from allcomers.connection.base import Connection
from allcomers.connection.call import Driver

if TYPE_CHECKING:
    pass


class Asker(Protocol):
    """What a AsyncCall knows of the connection that it answers."""

    @property
    def driver(self) -> Driver | None: ...

    def hint(self, links: Iterable[bytes]) -> None:
        """Tell the client of these links before the answer (RFC 8297)."""
        ...


class AsyncCall(Protocol):
    """The call of an async app: it goes on while its request still comes and while its answer goes out.

    It answers as any other call does: with a Response, or a Stream that it fills, and then its pieces; at the end with
    Last. `Upgrade` is an answer too. What it says later than in start() goes to the driver's said().

    ahead   int: bytes of the body that it was given and has not taken
    hungry  bool: it waits for more of the body
    """

    ahead: int
    hungry: bool

    def start(self) -> Any:
        """The call itself (Work): its answer, or LATER."""
        ...

    def hear(self, piece: bytes, more: bool) -> None:
        """The client said `piece` of the body; is there more to come?"""
        ...

    def end(self) -> None:
        """The client says no more; it may still read."""
        ...

    def drain(self) -> None:
        """The server leaves: an answer that never ends by itself is to end."""
        ...

    def leave(self) -> None:
        """The client is gone, or gets another answer."""
        ...


class Upgrade:
    """The answer 101: from here on this connection speaks another protocol (RFC 9110, 7.8).

    head     the answer's bytes
    connect  (the HTTP connection, what the peer has said already, now) to its successor
    """

    __slots__ = ("connect", "head")

    def __init__(self, head: bytes, connect: Callable[[Connection, bytes, float], Connection]) -> None:
        self.head = head
        self.connect = connect
