"""Service: the class that a plain TCP protocol is written as."""

from __future__ import annotations

from typing import ClassVar

from allcomers.protocol.framing import Framing, Raw


class Service:
    r"""Subclass it, say how messages are framed, answer them. One instance serves one connection.

        class Upper(Service):
            framing = Delimited(b"\n")

            def request(self, data: bytes) -> bytes | None:
                return data.upper()

    Calls of one connection come one after another, whatever the model; those of two may run at once.

    peer   str: the client's address
    """

    framing: ClassVar[Framing] = Raw()
    """Raw(), Delimited(b"\\n"), LengthPrefixed(4), or what else has their two methods."""

    idle_timeout: ClassVar[float | None] = None
    """Seconds that a client may stay silent between two messages; None for what --keep-alive says."""

    peer: str = ""
    closing: bool = False

    def connected(self) -> bytes | None:
        """A client has come. What this returns greets it."""
        return None

    def request(self, data: bytes) -> bytes | None:
        """Answer one message, without its framing; None sends nothing. An exception ends this connection alone."""
        raise NotImplementedError(f"{type(self).__name__} has no request(self, data)")

    def lost(self) -> None:
        """The connection has ended, by whichever side. Nothing can be sent any more."""

    def close(self) -> None:
        """End the connection once the answer to this message is sent."""
        self.closing = True
