"""The peers of a loop, and what they share: channels, deadlines and turns; which may come in, and which must leave."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from allcomers.connection.base import IDLE, READ
from allcomers.connection.call import Address
from allcomers.models.driver.acceptor import Acceptor, Action
from allcomers.models.driver.channel import Channel
from allcomers.models.driver.poller import Poller
from allcomers.models.driver.serving import Serving
from allcomers.system import sockets
from allcomers.system.counters import ACCEPTED
from allcomers.system.deadlines import Deadlines
from allcomers.system.inbox import Inbox


class Peers:
    """The peers of one loop.

    channels  by descriptor
    others    the descriptors that are watched and are no peer's, each with its action
    at        the peer whose turn it is
    again     peers that had their turn and could go on
    evicting  bool: each peer is to leave with its next response, and none has the fast path
    draining  bool: no peer may come in any more
    turned    called with the time when a call that runs on the event loop has answered
    has_fast_path  bool: set by the loop
    """

    def __init__(self, serving: Serving, poller: Poller, turned: Callable[[float], object]) -> None:
        self.calls = serving.calls
        self.here = serving.calls.here
        self.poller = poller
        self.turned = turned
        self.channels: dict[int, Channel] = {}
        self.others: dict[int, Action] = {}
        self.deadlines = Deadlines()
        self.at: Channel
        self.again: deque[Channel] = deque()
        self.has_fast_path = False
        self.draining = False
        self._crowded = False  # all places are taken and another peer waits
        self.evicting = serving.slot.leaving_soon
        self._serving = serving
        self._slot = serving.slot
        self._inbox: Inbox[tuple[Channel, Any, Any]] = Inbox()
        self._acceptor = Acceptor(self, serving)

    def open(self, results: Action) -> None:
        """Accept peers; call `results` when post() has brought some."""
        self.watch(self._inbox.fileno(), results)
        self._acceptor.watch()

    def watch(self, fd: int, action: Action) -> None:
        """Call `action` whenever `fd` is readable."""
        self.others[fd] = action
        self.poller.watch(fd, READ)

    # ------------------------------------------------------------ calls in other threads

    def post(self, channel: Channel, call: Any, reply: Any) -> None:
        """Bring the result of `call` to the loop's own thread. Called in any thread."""
        self._inbox.put((channel, call, reply))

    def results(self) -> list[tuple[Channel, Any, Any]]:
        """Return the results that were posted, each with its peer and its call."""
        return self._inbox.take()

    # ------------------------------------------------------------ time

    def take_turns(self, now: float) -> None:
        """Give those that could go on another turn."""
        for _ in range(len(self.again)):
            channel = self.again.popleft()
            if self.channels.get(channel.fd) is channel:
                channel.drive(now)

    def expire(self, now: float) -> None:
        """Report the deadlines that have come."""
        for fd in self.deadlines.due(now):
            channel = self.channels.get(fd)
            if channel is not None:
                channel.expire(now)
            elif fd in self._acceptor:
                self._acceptor.watch()

    # ------------------------------------------------------------ AcceptorOwner

    def full(self) -> bool:
        most = self._serving.max_connections
        return most is not None and len(self.channels) >= most

    def make_room(self, now: float) -> None:
        """Evict the peer that has been idle longest, or the one that is answered next."""
        self._crowded = self.evicting = True
        self.sync()
        idle = (channel for channel in self.channels.values() if channel.conn.phase is IDLE and channel.conn.served)
        longest = min(idle, key=lambda channel: channel.conn.deadline, default=None)
        if longest is not None:
            longest.drive(now)

    def add(self, sock: socket.socket, address: Address, now: float) -> None:
        if sock.fileno() >= self.poller.most:
            sockets.refuse(sock, self._serving.endpoint.busy)
            return
        channel = Channel(self, sock, self._serving.endpoint.connect(address, now))
        channel.conn.driver = channel
        self.channels[channel.fd] = channel
        self._slot.count(len(self.channels))
        self._slot.counters.add(ACCEPTED)
        if self.draining:
            channel.conn.drain(now)
        self.again.append(channel)

    def watch_listener(self, fd: int, action: Action) -> None:
        self.others[fd] = action
        self.poller.watch_listener(fd)

    def forget_listener(self, fd: int) -> None:
        del self.others[fd]
        self.poller.forget(fd)

    def retry(self, fd: int, when: float) -> None:
        self.deadlines.set(fd, when)

    # ------------------------------------------------------------ the end

    def close(self, channel: Channel) -> None:
        """Close the socket of a peer whose connection is over."""
        del self.channels[channel.fd]
        self._slot.count(len(self.channels))
        self.poller.forget(channel.fd)
        channel.sock.close()
        channel.conn.driver = None  # the two hold each other
        if self._crowded and not self.draining:
            self._crowded = False
            self.evicting = self._slot.leaving_soon
            self._acceptor.watch()
        channel.run_close_call()

    def evict_soon(self) -> None:
        """Evict peers with their next responses, if the server is about to leave."""
        if self._slot.leaving_soon:
            self.evicting = True
            self.sync()

    def drain(self, now: float) -> None:
        """Let in the peers that wait already and no more; answer what is requested, then close."""
        self.draining = True
        self._slot.leave()
        self.sync()
        for found in self._acceptor.close():
            self.add(*found, now)
        for channel in self.channels.values():
            channel.conn.drain(now)
        self.again.extend(self.channels.values())

    def sync(self) -> None:
        """Report to all connections what the fast path has done."""
        for channel in self.channels.values():
            channel.sync()
