"""The loop that all pollers share: one thread, many peers, a system call only where the kernel says it will not wait.

    wait → handle(fd, events) for each that is ready → turn() → wait → …

The poller reports events; the channel of a peer (channel.py) keeps them and does what its connection wants; peers.py
has the channels and what they share.

A loop may move on while a call of the app keeps its thread (calls/auto.py). That thread gets LoopMoved: it does not
come back. So what is still to be done after a call is kept in the loop: events, results and peers that wait.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from time import monotonic
from typing import Any, Final

from allcomers.calls.overload.delay import CALM
from allcomers.calls.protocols import loop_host
from allcomers.connection.base import READ, WRITE
from allcomers.connection.call import PartialResponse
from allcomers.errors import LoopMoved
from allcomers.models.driver.channel import Channel, fall_back
from allcomers.models.driver.peers import Peers, give_up, needs_no_connection
from allcomers.models.driver.poller import Poller
from allcomers.models.driver.serving import Serving
from allcomers.models.fastpath import setup
from allcomers.system import faults
from allcomers.system.deadlines import NEVER
from allcomers.system.native.primitives import sleep

_GONE: Final = POLLERR | POLLHUP
_ENDED: Final = getattr(select, "POLLRDHUP", 0)
_RARE: Final = _GONE | _ENDED
_READ_OR_WRITE: Final = READ | WRITE


class EventLoop:
    """Everything between a poller and the connections.

    handle(fd, events, now)  called for the `events` of `fd` that the poller reports
    loop_turn  called when something happened outside handle() and turn(), which an event loop is to look at
    """

    def __init__(
        self, serving: Serving, poller: Poller, loop_turn: Callable[[float], object] = lambda now: None
    ) -> None:
        self._serving = serving
        self._signals = serving.signals
        self._poller = poller
        self._events: Iterator[tuple[int, int]] = iter(())  # reported and not handled
        self._results: Iterator[tuple[Channel, Any, Any]] = iter(())  # of calls; posted and not reported
        self.peers = peers = Peers(serving, poller, loop_turn)
        self._channels = peers.channels
        self._fast_path = setup.fast_path(
            serving.endpoint.http,
            serving.endpoint.service,
            serving.calls,
            peers.channels,
            self._handle,
            fall_back,
            peers.close,
            peers.post,
            serving.admission,
        )
        self.handle = self._handle
        if self._fast_path is not None:
            self.handle = self._fast_path.handle
            peers.arrive, peers.answer = self._fast_path.arrive, self._fast_path.answered
            peers.makes_late = needs_no_connection(serving.endpoint)
        peers.watch(serving.signals.fileno(), self._read_signals)
        peers.open(self._take_results)

    @property
    def over(self) -> bool:
        """Whether no peer is left to serve, and no call runs on, or no time is left."""
        if not self.peers.draining:
            return False
        return not (self._channels or self.peers.detached) or monotonic() >= self._signals.deadline

    def run(self) -> None:
        """Serve until the end. Raises LoopMoved once another thread does so, or will."""
        while True:
            try:
                self._run()
            except MemoryError as error:  # of the loop itself, between two peers: it goes on where it was
                faults.report(error, "the event loop lacks memory")
                sleep(faults.PAUSE)
            else:
                return

    def _run(self) -> None:
        counters, turns = self._serving.slot.counters, self._serving.admission.turn
        now = monotonic()
        while True:
            for fd, event in self._events:
                try:
                    self.handle(fd, event, now)
                except LoopMoved:
                    raise
                except BaseException as error:
                    self.peers.failed(fd, error)
            timeout = self.turn(now)
            took = monotonic() - now
            counters.loop_turn(took)
            if took > turns.target or turns.state is not CALM:
                self._serving.admission.turned(took, now + took)
            if self.peers.draining and self.over:
                return
            self._events = iter(self._poller.wait(timeout))
            now = monotonic()

    def close(self) -> None:
        """Close the peers that are left, for which there was no time."""
        for channel in list(self._channels.values()):
            give_up(channel, None)
            with suppress(LoopMoved):
                self.peers.close(channel)
        self._poller.close()

    def leave(self) -> Callable[[Any], object]:
        """Detach the loop from this thread, which stays inside an app call. Return the callback for that call's result;
        another thread then calls run()."""
        if self._fast_path is not None and (left := self._fast_path.leave()):
            channel, unsent, request, begun, received = left
            channel.adopt(unsent, request, begun, received, monotonic())
            call = channel.conn.taken
        else:
            channel = self.peers.at
            call = channel.conn.taken
            channel.conn.consumed(call, monotonic())  # it is not over, as it was to be
        self.peers.again.append(channel)
        return partial(self.peers.post, channel, call)

    def _handle(self, fd: int, events: int, now: float) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            others = self.peers.others
            if fd in others:
                others[fd](now)
            return
        if events & POLLIN:
            channel.readable = True
        if events & POLLOUT:
            channel.writable = WRITE
        if events & _RARE:
            channel.ended = channel.readable = True
            if events & _GONE:
                channel.writable = WRITE
                if (
                    not channel.is_idle and not channel.conn.wants & _READ_OR_WRITE
                ):  # a call runs for a peer that is gone: end these reports
                    channel.conn.lost(now)
        channel.drive(now)

    def turn(self, now: float) -> float | None:
        """Carry out what is due by the clock. Return the seconds until more may be; None for never."""
        peers = self.peers
        for channel, call, reply in self._results:
            now = monotonic()  # before, it may not have been there
            try:
                if channel.handed_off is not None and self._fast_path is not None:
                    self._fast_path.answered(channel, reply, now)
                    continue
                channel.conn.answered(call, reply, now)
                if not isinstance(reply, PartialResponse):
                    channel.resume(now)
                elif not peers.again or peers.again[-1] is not channel:  # others may follow: they go out together
                    peers.again.append(channel)
            except LoopMoved:
                raise
            except BaseException as error:
                peers.fail(channel, error, reply)
        if peers.again:
            peers.take_turns(now)
        when = peers.deadlines.next()
        if when <= now:
            peers.expire(now)
            when = peers.deadlines.next()
        if peers.again:
            return 0.0
        if peers.draining:
            when = min(when, self._signals.deadline)
        return None if when == NEVER else max(0.0, when - now)

    def _take_results(self, now: float) -> None:
        """Take the results that were posted; turn() reports them."""
        self._results = iter(self.peers.results())

    def _read_signals(self, now: float) -> None:
        self._signals.read()
        self.peers.evict_soon()
        if self._signals.draining and not self.peers.draining:
            self.peers.drain(now)


def serve(serving: Serving, poller: Poller) -> None:
    """Run an EventLoop on `poller` until the server stops."""
    loop = EventLoop(serving, poller)
    try:
        if (host := loop_host(serving.calls)) is not None:
            host.host(loop)
        else:
            loop.run()
    finally:
        loop.close()
