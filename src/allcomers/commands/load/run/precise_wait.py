"""To wait on an epoll until a moment, and be there when it comes.

Who sleeps is woken some 50 µs late, and goes on with cold caches: there and back that is 3 % of an answer that takes
6 ms. So an open loop does not sleep while an answer is awaited, nor just before a request is due. It does sleep while
others want its core: a server that shares it would be the slower, and who has slept comes on sooner than who has not.
What was waited without sleep is told apart, as no work (`spun`).
"""

from __future__ import annotations

import resource
import select
import time
from typing import Final

SPIN: Final = 200_000
"""ns before a moment from which on nobody sleeps: more than almost all wake-ups are late by."""

SELDOM: Final = 10
"""It is seldom enough to do so for others who want the core, too, when it slept so many times longer before."""

LOOK: Final = 50_000_000
"""ns from one look to the next, whether others want the core."""

OFTEN: Final = 3
"""Times that it was pushed from its core between two looks …"""

MUCH: Final = 1 / 16
"""… and share of the time, that it was kept from it: by others. The kernel has its own work only now and then."""

YIELDING: Final = 500_000_000
"""ns for which it then sleeps as others do."""

now_ns = time.monotonic_ns


class Waiting:
    """`most`: sockets that are told of at once."""

    def __init__(self, epoll: select.epoll, most: int) -> None:
        self._epoll = epoll
        self._most = most
        self._looked = now_ns()
        self._look_at = 0
        self._spin_from = 0
        self._pushed = 0
        self._worked = 0
        self._slept = 0
        self.spun = 0
        """ns that were waited without sleep."""

    def until(self, moment: float, answers: bool) -> list[tuple[int, int]]:
        """What epoll has, as soon as it has something, or [] at `moment` (ns). `answers`: are any awaited?

        It may come back with nothing before the moment, to be asked again.
        """
        events = self._epoll.poll(0, self._most)
        if events:
            return events
        now = now_ns()
        alone = self._is_alone(now)
        if alone and answers:
            return self._spin(min(moment, self._look_at))
        spin = SPIN if alone or moment - now > SELDOM * SPIN else 0
        # epoll_wait(2) counts in ms; select(2) on the epoll itself in µs, and what is due is not to be late.
        sleep = (moment - spin - now) / 1e9
        if sleep > 0:
            ready = select.select((self._epoll,), (), (), sleep)[0]
            self._slept += now_ns() - now
            if ready:
                return self._epoll.poll(0, self._most)
        return self._spin(moment) if spin else []

    def _spin(self, until: float) -> list[tuple[int, int]]:
        poll, most = self._epoll.poll, self._most
        began = now = now_ns()
        events: list[tuple[int, int]] = []
        while not events and now < until:
            events = poll(0, most)
            now = now_ns()
        self.spun += now - began
        return events

    def _is_alone(self, now: int) -> bool:
        """Has nobody kept this process from its core lately? (getrusage(2): ru_nivcsw)"""
        if now >= self._look_at:
            pushed = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
            worked = time.process_time_ns()
            passed = now - self._looked
            kept_from_it = passed - self._slept - (worked - self._worked)
            if pushed - self._pushed >= OFTEN and kept_from_it > MUCH * passed:
                self._spin_from = now + YIELDING
            self._pushed, self._worked, self._slept = pushed, worked, 0
            self._looked, self._look_at = now, now + LOOK
        return now >= self._spin_from
