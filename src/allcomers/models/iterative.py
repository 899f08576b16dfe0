"""The iterative model: one client at a time, the next waits.

    accept → serve → close → accept → serve → close → …

One thread, one conversation, from its first byte to its last; whoever else has connected waits in the kernel's backlog.
It costs nothing: no switch, no lock, no second stack. And one slow client is everybody's slow server.

Use it to learn what the other models are for, or where there is only ever one client: a tool on your own machine.

An idle client would keep the next one waiting for as long as it likes. So while somebody waits, the one inside is told
`Connection: close` with its answer, and if it has nothing to ask, it has to leave.
"""

from __future__ import annotations

import select
from time import monotonic, sleep

from allcomers.connection.base import FAREWELL, PATIENCE
from allcomers.models.driver.blocking import converse
from allcomers.models.driver.serving import Serving
from allcomers.system import sockets
from allcomers.system.counters import ACCEPTED


class SingleAcceptor:
    """The Room of the only conversation: somebody waits at the door, or the server stops."""

    lends_sockets = False  # nobody else would be served, nor any signal heard, for as long as a WebSocket is open

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._poll = select.poll()
        for fd in self.filenos(idle=True):
            self._poll.register(fd, select.POLLIN)

    @property
    def over(self) -> bool:
        return self._serving.signals.quitting

    def filenos(self, idle: bool) -> list[int]:
        doors = [listener.fileno() for listener in self._serving.listeners] if idle else []
        return [self._serving.signals.fileno(), *doors]

    def wanted(self) -> float:
        waits = self.happens(0)
        if self._serving.signals.draining:
            return FAREWELL
        return PATIENCE if waits or self._serving.slot.leaving_soon else 0.0

    def happens(self, timeout: float | None) -> bool:
        """Wait until somebody is at the door (True) or an order has been carried out."""
        ready = {fd for fd, _ in self._poll.poll(timeout)}
        if self._serving.signals.fileno() in ready:
            self._serving.signals.read()
        return bool(ready - {self._serving.signals.fileno()})


def serve(serving: Serving) -> None:
    """Serve until the orders say stop; then who waits already, until the backlog is empty."""
    signals = serving.signals
    acceptor = SingleAcceptor(serving)
    while not signals.draining:
        if acceptor.happens(None):
            serve_one(serving, acceptor)
    for _ in range(sum(map(sockets.waiting, serving.listeners))):
        if monotonic() >= signals.deadline or not serve_one(serving, acceptor):
            break


def serve_one(serving: Serving, acceptor: SingleAcceptor) -> bool:
    """Serve the next who waits; False if nobody does."""
    for listener in serving.listeners:
        try:
            found = sockets.accept(listener)
        except OSError:
            sleep(sockets.PAUSE)  # no descriptors left: nobody is served meanwhile, as ever in this model
            return True
        if found is not None:
            sock, address = found
            serving.slot.counters.add(ACCEPTED)
            serving.slot.count(1)
            converse(sock, serving.endpoint.connect(address, monotonic()), serving.calls, acceptor)
            serving.slot.count(0)
            return True
    return False
