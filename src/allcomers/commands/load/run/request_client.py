"""The ordinary client: it sends a request, receives the response, and sends the next.

The next is sent at once, after a think time, or when it is due.

A sent request ends in one of two ways: its response is complete, or it fails, with its kind. Until then it is in
flight: sent is always answered + failed + in flight. Without keep-alive a request starts with its connection.
"""

from __future__ import annotations

from collections import deque

from allcomers.commands.load.data.record import SENT
from allcomers.commands.load.run.client import Client, Group, Phase
from allcomers.commands.load.run.response_end import CLOSES, ResponseFraming, response_framing


class RequestClient(Client):
    """A client that sends requests, from `start` (ns) on at the earliest."""

    __slots__ = ("_framing", "_in_flight", "_next_from", "free_since", "in_free_list")

    def __init__(self, group: Group, key: int, start: int) -> None:
        super().__init__(group, key)
        self._framing: ResponseFraming = response_framing(group.plan)
        self._in_flight: deque[tuple[int, int]] = deque()  # (due, sent) of each request
        self._next_from = start
        self.in_free_list = False
        """Whether it is in the group's list of free clients; set by the group."""
        self.free_since = 0
        """Since when it has had room for another request."""

    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another request can be sent at once."""
        if self.phase is Phase.OPEN:
            return len(self._in_flight) < self._group.pipeline
        return not self._group.keep_alive and self.phase is Phase.DISCONNECTED and not self._in_flight

    def send_request(self, due: int, now: int) -> None:
        """Send the next request, which was due at `due`."""
        group = self._group
        self._in_flight.append((due, now))
        group.record.counters[SENT] += 1
        self.set_deadline(self._in_flight[0][1] + group.timeout)
        if self.phase is Phase.OPEN:
            self.send(group.next_request(), now)
        else:
            self._unsent = group.next_request()
            self.connect(now)

    def _send_next(self, now: int) -> None:
        """Send the next request, or wait for its time: there is room for it."""
        group = self._group
        self.free_since = now
        if group.schedule is not None:
            group.add_free(self)
        elif now < self._next_from:
            if not self.in_flight():
                self.set_deadline(self._next_from)
        else:
            self._fill(now)

    def _fill(self, now: int) -> None:
        """Send as many requests as there is room for."""
        while self.has_room and self._group.claim_request():
            self.send_request(now, now)
            if self.phase is not Phase.OPEN:  # it connects, or has failed already and pauses
                break

    # ------------------------------------------------------------ what happens

    def opened(self, now: int) -> None:
        if self._in_flight:  # it was sent with the connection
            self.set_deadline(self._in_flight[0][1] + self._group.timeout)
        else:
            self._send_next(now)

    def on_timer(self, now: int) -> None:
        group = self._group
        if self._in_flight:
            until = self._in_flight[0][1] + group.timeout
            if now < until:
                self.set_deadline(until)
            else:
                self.fail("time-out", now)
        elif self.phase is Phase.DISCONNECTED and group.keep_alive:
            if group.has_more_requests():
                self.connect(now)
        else:
            self._send_next(now)

    def received(self, data: bytes, now: int) -> None:
        found = self._framing.receive(data) if data else self._framing.receive_eof()
        in_flight = self._in_flight
        if len(found) > len(in_flight):
            self.fail("malformed: a response without a request", now)
            return
        group = self._group
        for response in found:
            due, sent = in_flight.popleft()
            group.recorder.answered(due, sent, now, response & ~CLOSES)
        if found:
            self._answered(bool(found[-1] & CLOSES), now)
        if not data and self.phase is not Phase.DISCONNECTED:
            self.fail("closed", now)

    def _answered(self, closes: bool, now: int) -> None:
        """Go on after complete responses; `closes`: no other follows on this connection."""
        group = self._group
        self._pause = 0
        if group.think and not self._in_flight:
            self._next_from = now + group.think
        if not closes and group.keep_alive:
            self._send_next(now)
        elif self._in_flight:
            self.fail("closed", now)
        else:
            self.disconnect(now)
            self._framing = response_framing(group.plan)
            self.on_timer(now)

    def lost(self, kind: str, now: int) -> None:
        group = self._group
        count = len(self._in_flight)
        if count:
            group.record.failed(count, kind)
            self._in_flight.clear()
        elif kind != "closed":  # closing an idle connection is no error
            group.record.errors[kind] += 1
        self._framing = response_framing(group.plan)
        self.set_deadline(now + self.next_pause())
