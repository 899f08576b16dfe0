"""The peers of a loop, and what they share: channels, deadlines and turns; which may come in, and which must leave."""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from allcomers.connection.base import FAREWELL, HEAD, IDLE, PATIENCE, READ, Connection
from allcomers.connection.call import PENDING, Address, PartialResponse
from allcomers.connection.http.base import HttpConnection
from allcomers.errors import ClientGone, LoopMoved
from allcomers.models.driver.acceptor import Acceptor, Action, is_kept_alive
from allcomers.models.driver.channel import Channel
from allcomers.models.driver.poller import PROMPT, Poller, evict
from allcomers.models.driver.serving import Endpoint, Serving
from allcomers.system import faults, sockets
from allcomers.system.counters import ACCEPTED
from allcomers.system.deadlines import Deadlines
from allcomers.system.descriptors import DescriptorRoom
from allcomers.system.inbox import Inbox
from allcomers.system.processes import forks


class Peers:
    """The peers of one loop.

    channels  by descriptor
    others    the descriptors that are watched and are no peer's, each with its action
    at        the peer whose turn it is
    again     peers that had their turn and could go on
    evicting  bool: each peer is to leave with its next response, and none has the fast path
    draining  bool: no peer may come in any more
    detached  peers that are gone, and whose calls run on: the loop waits for these, too, before it ends
    turned    called with the time when a call that runs on the event loop has answered
    arrive    serves a newcomer by the fast path, which idle peers have; None for none, set by the loop; `answer` as
              Home has it
    makes_late  bool: idle peers have no connection; set by the loop
    connect, look_after  as Home has them
    """

    def __init__(self, serving: Serving, poller: Poller, turned: Callable[[float], object]) -> None:
        self.calls = serving.calls
        self.admission = serving.admission
        self.here = serving.calls.here
        self.poller = poller
        self.turned = turned
        self.channels: dict[int, Channel] = {}
        self.others: dict[int, Action] = {}
        self.deadlines = Deadlines()
        self.at: Channel
        self.again: deque[Channel] = deque()
        self.detached: set[Channel] = set()
        self.arrive: Callable[[Channel], None] | None = None
        self.answer: Callable[[Channel, Any, float], None]
        self.connect: Callable[[Address, float], Connection] = serving.connect
        self.makes_late = False
        http = serving.endpoint.http
        self.look_after = 0.0 if http is None else http.limits.head_timeout
        self.draining = False
        self._crowded = False  # others wait for places, and none has left since
        self._descriptors = DescriptorRoom(poller.most)
        self.evicting = serving.slot.leaving_soon
        self._serving = serving
        self._slot = serving.slot
        self._inbox: Inbox[tuple[Channel, Any, Any]] = Inbox()
        self._acceptor = Acceptor(self, serving)
        forks.keep(self)

    def filenos(self) -> list[int]:
        return list(self.channels)

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
        """Give those that could go on another turn. Where that lasts, the others have theirs behind what the poller
        reports meanwhile."""
        until = now + PROMPT
        for _ in range(len(self.again)):
            channel = self.again.popleft()
            if self.channels.get(channel.fd) is channel:
                try:
                    self._guarded(channel, channel.go_on, now)
                except MemoryError:  # before its turn began: no poller may know of this peer, so it must come again
                    self.again.append(channel)
                    raise
                now = monotonic()
                if now >= until:
                    break

    def expire(self, now: float) -> None:
        """Report the deadlines that have come."""
        for fd in self.deadlines.due(now):
            channel = self.channels.get(fd)
            if channel is not None:
                self._guarded(channel, channel.expire, now)
            elif fd in self._acceptor:
                self._acceptor.watch()

    # ------------------------------------------------------------ AcceptorOwner

    def full(self) -> bool:
        most, present = self._serving.max_connections, len(self.channels)
        return (most is not None and present >= most) or (present > 0 and not self._descriptors.is_left())

    def make_room(self, now: float, count: int) -> None:
        """Evict the peers that have been idle longest, or those that are answered next. Called again, it asks others in
        the place of those that have sent a request instead."""
        if self.draining:
            return
        self._crowded = self.evicting = True
        self.sync()
        idle = [channel for channel in self.channels.values() if is_kept_alive(channel.conn)]
        if not idle:
            self._shed_late_heads(now, count)
            return
        staying = [channel for channel in idle if not channel.conn.leaving]
        for channel in heapq.nsmallest(count - (len(idle) - len(staying)), staying, key=_deadline):
            self._guarded(channel, _leave, channel, now)

    def _shed_late_heads(self, now: float, count: int) -> None:
        """Close peers that have long been awaited to send the head of a request: they keep others waiting."""
        late = [channel for channel in self.channels.values() if _sends_late_head(channel, now)]
        for channel in heapq.nsmallest(count, late, key=_deadline):
            channel.conn.lost(now)
            self._guarded(channel, channel.drive, now)

    def _end_crowding(self) -> None:
        """Keep peers again, and accept others: there is a place."""
        if self._crowded and not self.draining:
            self._crowded = False
            self.evicting = self._slot.leaving_soon
            self._acceptor.watch()

    def add(self, fd: int, address: Address, now: float) -> None:
        if fd >= self.poller.most:
            self._serving.dismiss(address)
            sockets.refuse(fd, self._serving.endpoint.busy)
            return
        channel = Channel(self, fd, address, now)
        if not self.makes_late or self.evicting:
            channel.sync()
            channel.try_fast_path()
        if self.draining:
            channel.conn.drain(now)
        self.again.append(channel)
        try:
            self.channels[channel.fd] = channel
            self._slot.count(len(self.channels))
            self._slot.counters.add(ACCEPTED)
            self._descriptors.took(channel.fd)
            self._end_crowding()
        except BaseException:  # the acceptor closes the socket: nobody may drive it
            self.channels.pop(channel.fd, None)
            raise

    def watch_listener(self, fd: int, action: Action) -> None:
        self.others[fd] = action
        self.poller.watch_listener(fd)

    def forget_listener(self, fd: int) -> None:
        self.others.pop(fd, None)
        self.poller.forget(fd)

    def retry(self, fd: int, when: float) -> None:
        self.deadlines.set(fd, when)

    # ------------------------------------------------------------ faults

    def failed(self, fd: int, error: BaseException) -> None:
        """End the peer behind `fd`, whose step has raised `error`. Raise it again where that was no peer's step."""
        channel = self.channels.get(fd)
        if channel is not None:
            self.fail(channel, error)
        elif fd in self.others:
            raise error
        else:
            faults.report_peer(error, "a peer that is gone")

    def fail(self, channel: Channel, error: BaseException, reply: object = None) -> None:
        """Report `error`, which a step of this peer has raised, and close its socket, whatever else is raised.

        reply  the result of a call that was being reported, if that was the step
        """
        faults.report_peer(error, (channel.conn or channel).peer)
        give_up(channel, reply)
        self.close(channel)
        self.detached.discard(channel)  # the result of its call may be what was lost

    def _guarded(self, channel: Channel, step: Callable[..., object], *arguments: Any) -> None:
        """Carry out a step of this peer; close it if that raises."""
        try:
            step(*arguments)
        except LoopMoved:
            raise
        except BaseException as error:
            self.fail(channel, error)

    # ------------------------------------------------------------ the end

    def close(self, channel: Channel) -> None:
        """Close the socket of a peer whose connection is over, once. Raises LoopMoved, and nothing else."""
        if self.channels.get(channel.fd) is not channel:
            return
        self.poller.forget(channel.fd)
        channel.close_socket()
        del self.channels[channel.fd]  # not before: what raises until here is done once more by fail()
        self._slot.count(len(self.channels))
        if (conn := channel.conn) is None:
            self._serving.dismiss((channel.peer, channel.port, channel.server))
        else:
            conn.driver = None  # the two hold each other
            self._serving.forget(conn)
        self._end_crowding()
        try:
            self.run_close_call(channel)
        except Exception as error:
            faults.report_peer(error, channel.conn.peer)

    def run_close_call(self, channel: Channel) -> None:
        """Run the app's last call for a peer that is gone, if there is one."""
        conn = channel.conn
        if conn is None:
            return
        is_streaming = conn.stream is not None
        close_call = conn.close_call()
        if close_call is PENDING:
            self.detached.add(channel)
        elif close_call is not None and is_streaming:
            self.at = channel
            self.here(close_call)
        elif close_call is not None:
            self.calls.submit(close_call, lambda _: None)

    def evict_soon(self) -> None:
        """Evict peers with their next responses: all if the server is about to leave, some for another worker."""
        if self._slot.leaving_soon:
            self.evicting = True
            self.sync()
        elif count := self._slot.take_surplus():
            self._let_go(count)

    def _let_go(self, count: int) -> None:
        """Have so many HTTP clients connect anew: WebSockets, and peers of a service, would lose what they do."""
        now = monotonic()
        self.sync()
        served = [peer for peer in self.channels.values() if isinstance(peer.conn, HttpConnection) and peer.conn.served]
        for channel in served[:count]:
            self._guarded(channel, channel.conn.drain, now, PATIENCE)
            self.again.append(channel)

    def drain(self, now: float) -> None:
        """Let in the peers that wait already and no more; answer what is requested, then close."""
        self.draining = self.evicting = True
        self._slot.leave()
        self.sync()
        for found in self._acceptor.close():
            self._acceptor.admit(*found, now)
        for channel in list(self.channels.values()):
            self._guarded(channel, channel.conn.drain, now)
        self.again.extend(self.channels.values())

    def sync(self) -> None:
        """Report to all connections what the fast path has done."""
        for channel in list(self.channels.values()):
            self._guarded(channel, channel.sync)


def needs_no_connection(endpoint: Endpoint) -> bool:
    """Return whether an idle peer needs no connection where the fast path serves it: not in TLS, behind a PROXY header,
    or where its requests are counted."""
    http = endpoint.http
    if http is None or http.tls is not None or endpoint.is_announced or http.limits.max_requests < sys.maxsize:
        return False
    return endpoint.connect(("", 0, ("", 0)), 0.0).is_idle


def give_up(channel: Channel, reply: object) -> None:
    """Report to the connection of a peer, of which a step has raised, that it is lost: each part for itself.

    reply  the result of a call that it may not have taken
    """
    now = monotonic()
    with suppress(Exception):
        channel.sync()
    for conn in (channel.conn, channel.conn and channel.conn.successor):
        with suppress(Exception):
            if conn is not None:
                conn.lost(now)
    if isinstance(reply, PartialResponse) and not reply.over:  # a thread may wait for it
        with suppress(Exception):
            reply.end(ClientGone("the client has gone"))


def _leave(channel: Channel, now: float) -> None:
    """Have an idle peer leave for another."""
    evict(channel.home, channel.conn, now)
    channel.drive(now)


def _deadline(channel: Channel) -> float:
    deadline: float = channel.conn.deadline
    return deadline


def _sends_late_head(channel: Channel, now: float) -> bool:
    """Return whether a head has long been awaited; not of one that still receives: its phase is IDLE, too."""
    conn = channel.conn
    return conn.phase in (IDLE, HEAD) and now - conn.since > FAREWELL and not conn.codec.pending
