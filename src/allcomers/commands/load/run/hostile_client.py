"""Hostile clients, to test whether a server withstands them: for your own server, beside an ordinary load.

Each opens a connection and does one thing wrong, until the server answers or closes; then it connects again. Its
request counts as sent when it starts, and its response time is how long the server tolerated it.

slow-head   sends a head that never ends, a byte a second (Slowloris)
slow-body   announces a megabyte, then sends a byte a second
slow-read   sends a request and reads 512 bytes of the response a second; choose a large one
idle        sends nothing
reconnect   connects and closes at once
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from typing import Final

from allcomers.commands.load.data.plan import Destination, Plan
from allcomers.commands.load.data.record import SENT
from allcomers.commands.load.run.client import Client, Group, Phase
from allcomers.commands.load.run.requests import head, requests
from allcomers.commands.load.run.response_end import STATUS, ResponseFraming, response_framing

STEP: Final = 1_000_000_000
"""ns between two pieces that are sent, or read."""

READ_SIZE: Final = 512
"""Bytes that slow-read reads at a time."""

ANNOUNCED: Final = 1_000_000
"""Content-Length that slow-body announces."""

_NEVER: Final = 1 << 62


class HostileClient(Client):
    """A hostile client of the kind that the plan names."""

    __slots__ = ("_framing", "_pieces", "_sent_at")

    def __init__(self, group: Group, key: int) -> None:
        super().__init__(group, key)
        self._framing: ResponseFraming = response_framing(group.plan)
        self._sent_at = 0
        self._pieces: Iterator[bytes] = iter(())

    def in_flight(self) -> int:
        return int(self._sent_at > 0)

    def tune(self, sock: socket.socket) -> None:
        super().tune(sock)
        if self._group.plan.hostile == "slow-read":  # before connect: the window is negotiated there
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_SIZE)
            self.receive_size = READ_SIZE

    # ------------------------------------------------------------ what happens

    def opened(self, now: int) -> None:
        group = self._group
        if group.plan.hostile == "reconnect":
            self.disconnect(now)
            self.set_deadline(now)
            return
        self._sent_at = now
        group.record.counters[SENT] += 1
        self._pieces = _KINDS[group.plan.hostile](group.plan, group.destination)
        if group.plan.hostile == "slow-read":
            self.stop_reading()
        self._send_piece(now)

    def on_timer(self, now: int) -> None:
        if self.phase is Phase.DISCONNECTED:
            self.connect(now)
        else:
            self._send_piece(now)

    def _send_piece(self, now: int) -> None:
        """Send the next piece, if there is one; slow-read reads."""
        piece = next(self._pieces, None)
        if piece is not None:
            self.set_deadline(now + STEP)
            self.send(piece, now)
        elif self.receive_size == READ_SIZE:
            self.set_deadline(now + STEP)
            self.receive(now)
        else:
            self.deadline = _NEVER

    def received(self, data: bytes, now: int) -> None:
        found = self._framing.receive(data) if data else self._framing.receive_eof()
        if found:
            self._group.recorder.answered(self._sent_at, self._sent_at, now, found[0] & STATUS)
            self._sent_at = 0
            self.fail("", now)
        elif not data:
            self.fail("closed", now)

    def lost(self, kind: str, now: int) -> None:
        if self._sent_at:
            self._group.record.failed(1, kind)
            self._sent_at = 0
        elif kind:
            self._group.record.errors[kind] += 1
        self._framing = response_framing(self._group.plan)
        self.set_deadline(now + self.next_pause())


# ---------------------------------------------------------------- what they send


def _slow_head(plan: Plan, destination: Destination) -> Iterator[bytes]:
    whole = head(plan, destination, destination.path)[:-2]  # without the empty line
    return map(bytes, zip(chain(whole, cycle(b"X-Slow: yes\r\n")), strict=False))


def _slow_body(plan: Plan, destination: Destination) -> Iterator[bytes]:
    return chain([head(plan, destination, destination.path, ANNOUNCED)], repeat(b"x", ANNOUNCED))


def _slow_read(plan: Plan, destination: Destination) -> Iterator[bytes]:
    return iter(requests(plan, destination)[:1])


def _idle(plan: Plan, destination: Destination) -> Iterator[bytes]:
    return iter(())


_KINDS: Final[dict[str, Callable[[Plan, Destination], Iterator[bytes]]]] = {
    "slow-head": _slow_head,
    "slow-body": _slow_body,
    "slow-read": _slow_read,
    "idle": _idle,
}
