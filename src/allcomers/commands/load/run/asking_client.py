"""The ordinary client: it asks, is answered, and asks again, at once, after a think, or when the next request is due.

A request that was sent ends in one of two ways: its answer comes whole, or it fails, with its kind. Until then it is in
flight: what is sent is always answered + failed + in flight. Without keep-alive a request begins with its connection.
"""

from __future__ import annotations

from collections import deque

from allcomers.commands.load.data.record import SENT
from allcomers.commands.load.run.client import Client, Driver, Phase
from allcomers.commands.load.run.response_end import CLOSES, STATUS, Answers, answers


class Asker(Client):
    """`begins`: when it asks first, at the earliest (ns)."""

    __slots__ = ("_answers", "_ask_from", "_in_flight", "queued", "rested")

    def __init__(self, crew: Driver, key: int, begins: int) -> None:
        super().__init__(crew, key)
        self._answers: Answers = answers(crew.plan)
        self._in_flight: deque[tuple[int, int]] = deque()  # (due, sent) of each request
        self._ask_from = begins
        self.queued = False
        """Is it among the free? (crew)"""
        self.rested = 0
        """Since when it has had room for another request."""

    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Could another request be sent at once?"""
        if self.phase is Phase.OPEN:
            return len(self._in_flight) < self._crew.pipeline
        return not self._crew.keep_alive and self.phase is Phase.AWAY and not self._in_flight

    def ask(self, due: int, now: int) -> None:
        """Send the next request, which was due then."""
        crew = self._crew
        self._in_flight.append((due, now))
        crew.record.page[SENT] += 1
        self.wake_at(self._in_flight[0][1] + crew.timeout)
        if self.phase is Phase.OPEN:
            self.send(crew.next_request(), now)
        else:
            self._unsent = crew.next_request()
            self.connect(now)

    def _rest(self, now: int) -> None:
        """There is room for another request: when does it come?"""
        crew = self._crew
        self.rested = now
        if crew.schedule is not None:
            crew.is_free(self)
        elif now < self._ask_from:
            if not self._in_flight:
                self.wake_at(self._ask_from)
        else:
            while self.has_room and crew.may_ask():
                self.ask(now, now)
                if self.phase is not Phase.OPEN:  # it is on its way, or has failed already and pauses
                    break

    # ------------------------------------------------------------ what happens

    def opened(self, now: int) -> None:
        if self._in_flight:  # it went out with the connection
            self.wake_at(self._in_flight[0][1] + self._crew.timeout)
        else:
            self._rest(now)

    def due(self, now: int) -> None:
        crew = self._crew
        if self._in_flight:
            until = self._in_flight[0][1] + crew.timeout
            if now < until:
                self.wake_at(until)
            else:
                self.fail("time-out", now)
        elif self.phase is Phase.AWAY and crew.keep_alive:
            if crew.asks_on():
                self.connect(now)
        else:
            self._rest(now)

    def heard(self, data: bytes, now: int) -> None:
        found = self._answers.read(data) if data else self._answers.end()
        in_flight = self._in_flight
        if len(found) > len(in_flight):
            self.fail("malformed", now)
            return
        crew = self._crew
        for answer in found:
            due, sent = in_flight.popleft()
            crew.pen.answered(due, sent, now, answer & STATUS)
        if found:
            self._answered(bool(found[-1] & CLOSES), now)
        if not data and self.phase is not Phase.AWAY:
            self.fail("closed", now)

    def _answered(self, closes: bool, now: int) -> None:
        """At least one answer has come whole, and `closes` says that no other does."""
        crew = self._crew
        self._pause = 0
        if crew.think and not self._in_flight:
            self._ask_from = now + crew.think
        if not closes and crew.keep_alive:
            self._rest(now)
        elif self._in_flight:
            self.fail("closed", now)
        else:
            self.leave(now)
            self._answers = answers(crew.plan)
            self.due(now)

    def lost(self, kind: str, now: int) -> None:
        crew = self._crew
        count = len(self._in_flight)
        if count:
            crew.record.failed(count, kind)
            self._in_flight.clear()
        elif kind != "closed":  # an idle connection may be closed, by all means
            crew.record.errors[kind] += 1
        self._answers = answers(crew.plan)
        self.wake_at(now + self.pause())
