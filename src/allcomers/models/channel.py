"""A peer of a loop: its socket, its connection, and what the poller said of it; and what a poller is."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from allcomers.connection import Connection
from allcomers.deadlines import NEVER
from allcomers.models.express import Seat


class Poller(Protocol):
    """What a model brings.

    most       int: descriptors must be below this
    errs_once  bool: that a peer has reset its connection is told once, perhaps while something is still to be read
    """

    most: int
    errs_once: bool

    def watch(self, fd: int, wants: int) -> None: ...
    def watch_listener(self, fd: int) -> None: ...
    def forget(self, fd: int) -> None: ...
    def wait(self, timeout: float | None) -> list[tuple[int, int]]: ...


class Hears(Protocol):
    """What a channel knows of its loop."""

    def take_word(self, channel: Channel, reply: Any) -> None: ...


class Channel(Seat):
    """A peer's socket and its connection, and what the poller said of the one on behalf of the other.

    ended  bool: no more will come than is there already, so it is read to its end: an edge is told once
    """

    __slots__ = ("due", "ended", "loop", "readable", "sock", "watched", "writable")

    def __init__(self, loop: Hears, sock: socket.socket, conn: Connection) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.conn = conn
        self.peer, self.port, self.server = conn.peer, conn.port, conn.server
        self.rests = False
        self.count = 0
        self.since = 0.0
        self.readable = False
        self.ended = False
        self.writable = True
        self.watched = 0
        self.due = NEVER  # when its deadline is looked at next

    def said(self, reply: Any) -> None:
        """A call that runs on the event loop says something of its answer (connection.Driver)."""
        self.loop.take_word(self, reply)
