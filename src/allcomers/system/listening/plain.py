"""Listeners beside those of TLS, at which none is spoken."""

from __future__ import annotations

import socket


class PlainListener(socket.socket):
    """A bound socket whose peers speak no TLS, though the server has a certificate.

    redirects  bool: its HTTP requests are sent to HTTPS
    """

    __slots__ = ("redirects",)

    def __init__(self, sock: socket.socket, *, redirects: bool) -> None:
        """Take the descriptor of `sock`."""
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.setblocking(False)
        self.redirects = redirects
