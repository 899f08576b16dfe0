"""Service: the base class of a plain TCP protocol."""

from __future__ import annotations

from typing import ClassVar

from allcomers.protocol.framing import Framing, Raw


class Service:
    r"""Subclass it, set the framing of messages, respond to them. One instance serves one connection.

        class Upper(Service):
            framing = Delimited(b"\n")

            def request(self, data: bytes) -> bytes | None:
                return data.upper()

    Calls of one connection run one after another, whatever the model; those of two may run at once.

    peer   str: the client's address
    """

    framing: ClassVar[Framing] = Raw()
    """Raw(), Delimited(b"\\n"), LengthPrefixed(4), or any object with their two methods."""

    idle_timeout: ClassVar[float | None] = None
    """Seconds that a client may stay silent between two messages; None for the value of --keep-alive."""

    peer: str = ""
    closing: bool = False

    def connected(self) -> bytes | None:
        """Return a greeting for a client that has connected; None sends nothing."""
        return None

    def request(self, data: bytes) -> bytes | None:
        """Return the response to one message, both without framing; None sends nothing.

        An exception ends this connection alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no request(self, data)")

    def lost(self) -> None:
        """Clean up: the connection has ended, by whichever side. Nothing can be sent any more."""

    def close(self) -> None:
        """Close the connection once the response to this message is sent."""
        self.closing = True
