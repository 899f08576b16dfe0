"""The iterative model: one client at a time, the next waits.

    accept → serve → close → accept → serve → close → …

One thread, one conversation, from its first byte to its last; whoever else has connected waits in the kernel's backlog.
It costs nothing: no switch, no lock, no second stack. And one slow client is everybody's slow server.

Use it to learn what the other models are for, or where there is only ever one client: a tool on your own machine.

An idle client would keep the next one waiting for as long as it likes. So while another waits, a busy client gets
`Connection: close` with its response, and an idle one has to leave.
"""

from __future__ import annotations

import select
import socket

from allcomers.connection.base import FAREWELL, IDLE, PATIENCE, Connection
from allcomers.connection.call import Address
from allcomers.models.driver.blocking import serve_peer
from allcomers.models.driver.conversations import AcceptLoop
from allcomers.models.driver.serving import Serving
from allcomers.system.counters import ACCEPTED
from allcomers.system.native.primitives import poll


class BacklogPolicy:
    """The LeavePolicy of the only conversation: it ends when another peer waits, or when the server stops."""

    lends_sockets = False  # no other peer would be served, nor any signal read, for as long as a WebSocket is open

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._poll = poll()
        for fd in self._filenos(idle=True):
            self._poll.register(fd, select.POLLIN)

    @property
    def over(self) -> bool:
        return self._serving.signals.quitting

    def watched(self, conn: Connection, leaving: bool) -> list[tuple[int, int]]:
        return [(fd, select.POLLIN) for fd in self._filenos(conn.phase is IDLE and not leaving)]

    def _filenos(self, idle: bool) -> list[int]:
        listeners = [listener.fileno() for listener in self._serving.listeners] if idle else []
        return [self._serving.signals.fileno(), *(fd for fd in listeners if fd >= 0)]

    def wanted(self) -> float:
        signals, slot = self._serving.signals, self._serving.slot
        ready = {fd for fd, _ in self._poll.poll(0)}
        if signals.fileno() in ready:
            signals.read()
        if signals.draining:
            return FAREWELL
        return PATIENCE if ready - {signals.fileno()} or slot.leaving_soon else 0.0


def serve(serving: Serving) -> None:
    """Serve until the server stops; then serve those that wait already, until the backlog is empty."""
    policy = BacklogPolicy(serving)

    def talk(sock: socket.socket, address: Address) -> None:
        serving.slot.counters.add(ACCEPTED)
        serving.slot.count(1)
        serve_peer(serving, policy, sock, address)
        serving.slot.count(0)

    acceptor = AcceptLoop(serving, talk)
    acceptor.accept()
    acceptor.accept_backlog()
