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

SLEEP_RATIO: Final = 10
"""It is seldom enough to do so for others who want the core, too, when it slept so many times longer before."""

CHECK_INTERVAL: Final = 50_000_000
"""ns from one look to the next, whether others want the core."""

MOST_PREEMPTIONS: Final = 3
"""Times that it was pushed from its core between two looks …"""

MOST_STOLEN: Final = 1 / 16
"""… and share of the time, that it was kept from it: by others. The kernel has its own work only now and then."""

YIELD_TIME: Final = 500_000_000
"""ns for which it then sleeps as others do."""

now_ns = time.monotonic_ns


class PreciseWait:
    """`most`: sockets that are told of at once."""

    def __init__(self, epoll: select.epoll, most: int) -> None:
        self._epoll = epoll
        self._most = most
        self._checked = now_ns()
        self._check_at = 0
        self._spin_from = 0
        self._preemptions = 0
        self._cpu = 0
        self._slept = 0
        self.spun = 0
        """ns that were waited without sleep."""

    def poll_until(self, moment: float, awaits_responses: bool) -> list[tuple[int, int]]:
        """What epoll has, as soon as it has something, or [] at `moment` (ns). `answers`: are any awaited?

        It may come back with nothing before the moment, to be asked again.
        """
        events = self._epoll.poll(0, self._most)
        if events:
            return events
        now = now_ns()
        owns_core = self._owns_core(now)
        if owns_core and awaits_responses:
            return self._spin(min(moment, self._check_at))
        spin = SPIN if owns_core or moment - now > SLEEP_RATIO * SPIN else 0
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
        start = now = now_ns()
        events: list[tuple[int, int]] = []
        while not events and now < until:
            events = poll(0, most)
            now = now_ns()
        self.spun += now - start
        return events

    def _owns_core(self, now: int) -> bool:
        """Has nobody kept this process from its core lately? (getrusage(2): ru_nivcsw)"""
        if now >= self._check_at:
            preemptions = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
            cpu = time.process_time_ns()
            passed = now - self._checked
            stolen = passed - self._slept - (cpu - self._cpu)
            if preemptions - self._preemptions >= MOST_PREEMPTIONS and stolen > MOST_STOLEN * passed:
                self._spin_from = now + YIELD_TIME
            self._preemptions, self._cpu, self._slept = preemptions, cpu, 0
            self._checked, self._check_at = now, now + CHECK_INTERVAL
        return now >= self._spin_from
