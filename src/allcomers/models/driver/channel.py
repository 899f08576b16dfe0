"""A peer of a loop: its socket, its connection, and what the poller said of it; and what a poller is."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final, Protocol

from allcomers.connection import call
from allcomers.connection.base import Connection
from allcomers.connection.call import Driver, PartialResponse
from allcomers.models.fastpath.setup import FastState
from allcomers.system.deadlines import NEVER

HINTS: Final = 16
"""Times that a call may hint before it has waited for anything; more is not told."""


class Poller(Protocol):
    """What a model brings: three verbs, and a page of code in a file of its own, one for each way to ask the kernel.

    most       int: descriptors must be below this
    errs_once  bool: that a peer has reset its connection is told once, perhaps while something is still to be read
    """

    most: int
    errs_once: bool

    def watch(self, fd: int, wants: int) -> None:
        """Tell of READ and WRITE, as far as `wants` has them; 0 for neither."""
        ...

    def watch_listener(self, fd: int) -> None:
        """Tell of READ, as for a listener that other processes watch, too."""
        ...

    def forget(self, fd: int) -> None:
        """Tell no more; `fd` is about to be closed."""
        ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """(fd, events) of each that is ready, events as poll(2) numbers them; None waits for ever."""
        ...


class Hears(Protocol):
    """What a channel knows of its loop."""

    def receive_reply(self, channel: Channel, call: Any, reply: Any) -> None: ...
    def send(self, channel: Channel, part: PartialResponse) -> bool: ...


class Channel(FastState):
    """A peer's socket and its connection, and what the poller said of the one on behalf of the other.

    ended  bool: no more will come than is there already, so it is read to its end: an edge is told once
    """

    __slots__ = ("due", "ended", "hinted", "loop", "sock", "watched", "writable")

    def __init__(self, loop: Hears, sock: socket.socket, conn: Connection) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.conn = conn
        self.is_idle = False
        self.count = 0
        self.since = self.ready_at = 0.0
        self.noted = None
        self.handed_off = None
        self.hinted: tuple[list[bytes], ...] = ()  # by a call of which the connection does not know yet
        self.readable = False
        self.ended = False
        self.writable = True
        self.watched = 0
        self.due = NEVER  # when its deadline is looked at next

    def idle(self) -> None:
        """The express lane may answer it, and needs to know who it is: a PROXY header has told, meanwhile."""
        self.is_idle = True
        self.peer, self.port, self.server = self.conn.address

    def sync(self) -> None:
        """Its connection is dealt with by the loop itself, and is told what the express lane has done."""
        self.is_idle = False
        if self.count:
            self.conn.count_served(self.count, self.since)
            self.count = 0
        if self.handed_off is not None:
            (request, asked, _), self.handed_off = self.handed_off, None
            self.conn.adopt(b"", None, (request, asked), None, b"", self.ready_at, self.ready_at)

    # ------------------------------------------------------------ for a call that was begun without the connection

    @property
    def driver(self) -> Driver | None:
        return self.conn.driver

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (async_call.Asker). Raises AnswerError."""
        if self.is_idle:  # its first step is not over: they go out when it is
            links = list(links)
            self.conn.check_hint(links)
            self.hinted = (*self.hinted, links)[:HINTS]
        else:
            self.conn.hint(links)

    def adopt(self, unsent: bytes, request: Any, async_call: Any, received: bytes, now: float) -> None:
        """Have the connection go on with what the fast path has served so far: see its adopt()."""
        self.sync()
        records, self.noted = self.noted, None
        self.conn.adopt(unsent, records, request, async_call, received, self.ready_at, now)
        hinted, self.hinted = self.hinted, ()
        for links in hinted:
            self.hint(links)

    # ------------------------------------------------------------ for a call that runs on the event loop

    def post(self, call: Any, reply: Any) -> None:
        """Report a reply of a call that runs on the event loop (call.Driver)."""
        self.loop.receive_reply(self, call, reply)

    def said(self, reply: Any) -> None:
        """Report a reply of the one call that runs, which began without the connection."""
        self.post(None, reply)

    def send(self, part: PartialResponse) -> bool:
        """A call in another thread says a part of its answer."""
        return self.loop.send(self, part)

    def push(self, said: Any) -> bool:
        return call.push(self, said)

    def fileno(self) -> int:
        return self.fd

    def app_socket(self) -> None:
        """A call here would keep a thread that is to serve others, too."""
