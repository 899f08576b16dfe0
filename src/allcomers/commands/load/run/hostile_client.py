"""Clients that mean ill, to see whether a server stands them: for your own server, beside an ordinary load.

Each opens a connection and does one thing wrong, until the server answers or closes; then it comes again. Its request
counts as sent when it begins, and its response time tells how long the server put up with it.

slow-head   a head that never ends, a byte a second (Slowloris)
slow-body   a head that announces a megabyte, then a byte a second
slow-read   asks for something and reads 512 bytes of it a second; give it a large answer to ask for
idle        says nothing
reconnect   opens, and leaves at once
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from typing import Final

from allcomers.commands.load.data.plan import Place, Plan
from allcomers.commands.load.data.record import SENT
from allcomers.commands.load.run.client import Client, Driver, Phase
from allcomers.commands.load.run.requests import head, requests
from allcomers.commands.load.run.response_end import STATUS, Answers, answers

STEP: Final = 1_000_000_000
"""ns from one thing said, or read, to the next."""

SIP: Final = 512
"""Bytes that slow-read reads at a time."""

ANNOUNCED: Final = 1_000_000
"""Bytes that slow-body says it will send."""

_NEVER: Final = 1 << 62


class Hostile(Client):
    """One of them: the plan says which."""

    __slots__ = ("_answers", "_began", "_says")

    def __init__(self, crew: Driver, key: int) -> None:
        super().__init__(crew, key)
        self._answers: Answers = answers(crew.plan)
        self._began = 0
        self._says: Iterator[bytes] = iter(())

    def in_flight(self) -> int:
        return int(self._began > 0)

    def tune(self, sock: socket.socket) -> None:
        super().tune(sock)
        if self._crew.plan.hostile == "slow-read":  # before connect: the window is agreed on there
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
            self.take = SIP

    # ------------------------------------------------------------ what happens

    def opened(self, now: int) -> None:
        crew = self._crew
        if crew.plan.hostile == "reconnect":
            self.leave(now)
            self.wake_at(now)
            return
        self._began = now
        crew.record.page[SENT] += 1
        self._says = _KINDS[crew.plan.hostile](crew.plan, crew.place)
        if crew.plan.hostile == "slow-read":
            self.look_away()
        self._act(now)

    def due(self, now: int) -> None:
        if self.phase is Phase.AWAY:
            self.connect(now)
        else:
            self._act(now)

    def _act(self, now: int) -> None:
        """Say the next thing, if there is one."""
        said = next(self._says, None)
        if said is not None:
            self.wake_at(now + STEP)
            self.send(said, now)
        elif self.take == SIP:
            self.wake_at(now + STEP)
            self.receive(now)
        else:
            self.wake = _NEVER

    def heard(self, data: bytes, now: int) -> None:
        found = self._answers.read(data) if data else self._answers.end()
        if found:
            self._crew.pen.answered(self._began, self._began, now, found[0] & STATUS)
            self._began = 0
            self.fail("", now)
        elif not data:
            self.fail("closed", now)

    def lost(self, kind: str, now: int) -> None:
        if self._began:
            self._crew.record.failed(1, kind)
            self._began = 0
        elif kind:
            self._crew.record.errors[kind] += 1
        self._answers = answers(self._crew.plan)
        self.wake_at(now + self.pause())


# ---------------------------------------------------------------- what they say


def _slow_head(plan: Plan, place: Place) -> Iterator[bytes]:
    whole = head(plan, place, place.path)[:-2]  # without the empty line
    return map(bytes, zip(chain(whole, cycle(b"X-Slow: yes\r\n")), strict=False))


def _slow_body(plan: Plan, place: Place) -> Iterator[bytes]:
    return chain([head(plan, place, place.path, ANNOUNCED)], repeat(b"x", ANNOUNCED))


def _slow_read(plan: Plan, place: Place) -> Iterator[bytes]:
    return iter(requests(plan, place)[:1])


def _idle(plan: Plan, place: Place) -> Iterator[bytes]:
    return iter(())


_KINDS: Final[dict[str, Callable[[Plan, Place], Iterator[bytes]]]] = {
    "slow-head": _slow_head,
    "slow-body": _slow_body,
    "slow-read": _slow_read,
    "idle": _idle,
}
