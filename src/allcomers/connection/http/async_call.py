"""The call of an async app: its request may still come and its response goes out while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from allcomers.protocol.message import Response


class ReplyTarget(Protocol):
    """The recipient of what an AsyncCall replies after its start()."""

    def said(self, reply: Any) -> bool:
        """Handle a reply. In the thread of the loop, never from within start(). Return whether it is a piece that the
        socket has taken whole already: then no step asks for the next."""
        ...


class Asker(Protocol):
    """What an AsyncCall knows of its exchange."""

    @property
    def driver(self) -> ReplyTarget | None:
        """The recipient of its replies; None where the connection has ended."""
        ...

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (RFC 8297). Raises AnswerError."""
        ...


class AsyncCall(Protocol):
    """The call of an async app: it goes on while its request still comes and while its response goes out.

    It replies as any other call does: with a Response, or a StreamingBody that it fills, and then its pieces; at the
    end with FinalPiece. `Upgrade` is a reply, too. Replies later than that of start() go to the driver's said().

    ahead   int: bytes of the body that it was given and has not consumed
    hungry  bool: it waits for more of the body
    """

    ahead: int
    hungry: bool

    def start(self) -> Any:
        """Run the call (Call): return its reply, or PENDING."""
        ...

    def hear(self, piece: bytes, more: bool) -> None:
        """Receive `piece` of the body; `more`: the body goes on after it."""
        ...

    def end(self) -> None:
        """Note the client's end of file: it sends no more, and may still read."""
        ...

    def drain(self) -> None:
        """End a response that never ends by itself: the server leaves."""
        ...

    def leave(self) -> None:
        """Note that the client is gone, or gets another response."""
        ...


class Answered:
    """An AsyncCall whose response is known already."""

    ahead = 0
    hungry = False

    def __init__(self, response: Response) -> None:
        self._response = response

    def start(self) -> Any:
        return self._response

    def hear(self, piece: bytes, more: bool) -> None:
        pass

    def end(self) -> None:
        pass

    def drain(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Upgrade:
    """The response 101: from here on this connection uses another protocol (RFC 9110, 7.8).

    head     the response's bytes
    connect  (the HTTP connection, what the peer has sent already, now) to its successor, which it replaces itself with
    """

    __slots__ = ("connect", "head")

    def __init__(self, head: bytes, connect: Callable[[Any, bytes, float], Any]) -> None:
        self.head = head
        self.connect = connect
