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
from functools import partial
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from time import monotonic
from typing import Any, Final

from allcomers.calls.protocols import loop_host
from allcomers.connection.base import READ, WRITE
from allcomers.connection.call import PartialResponse
from allcomers.models.driver.channel import Channel
from allcomers.models.driver.peers import Peers
from allcomers.models.driver.poller import Poller
from allcomers.models.driver.serving import Serving
from allcomers.models.fastpath import setup
from allcomers.system.deadlines import NEVER

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
            Channel.fall_back,
            peers.close,
            peers.post,
        )
        peers.has_fast_path = self._fast_path is not None
        self.handle = self._handle if self._fast_path is None else self._fast_path.handle
        peers.watch(serving.signals.fileno(), self._read_signals)
        peers.open(self._take_results)

    @property
    def over(self) -> bool:
        """Whether no peer is left to serve, or no time to serve it."""
        if not self.peers.draining:
            return False
        return not self._channels or monotonic() >= self._signals.deadline

    def run(self) -> None:
        """Serve until the end. Raises LoopMoved once another thread does so, or will."""
        counters = self._serving.slot.counters
        now = monotonic()
        while True:
            for fd, event in self._events:
                self.handle(fd, event, now)
            timeout = self.turn(now)
            counters.loop_turn(monotonic() - now)
            if self.over:
                return
            self._events = iter(self._poller.wait(timeout))
            now = monotonic()

    def leave(self) -> Callable[[Any], object]:
        """Detach the loop from this thread, which stays inside an app call. Return the callback for that call's result;
        another thread then calls run()."""
        if self._fast_path is not None and (left := self._fast_path.leave()):
            channel, unsent, request, received = left
            channel.adopt(unsent, request, None, received, monotonic())
        else:
            channel = self.peers.at
            channel.conn.consumed(None, monotonic())  # it is not over, as it was to be
        self.peers.again.append(channel)
        return partial(self.peers.post, channel, None)

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
                if not channel.conn.wants & _READ_OR_WRITE:  # a call runs for a peer that is gone: end these reports
                    channel.conn.lost(now)
        channel.drive(now)

    def turn(self, now: float) -> float | None:
        """Carry out what is due by the clock. Return the seconds until more may be; None for never."""
        for channel, call, reply in self._results:
            now = monotonic()  # before, it may not have been there
            if channel.handed_off is not None and self._fast_path is not None:
                self._fast_path.answered(channel, reply, now)
                continue
            channel.conn.answered(call, reply, now)
            again = self.peers.again
            if not isinstance(reply, PartialResponse):
                channel.resume(now)
            elif not again or again[-1] is not channel:  # others may follow: they go out together
                again.append(channel)
        peers = self.peers
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
    if (host := loop_host(serving.calls)) is not None:
        host.host(loop)
    else:
        loop.run()
