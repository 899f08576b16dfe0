"""Wait on an epoll until a moment, and return on time.

A sleeping process is woken some 50 µs late, with cold caches: there and back that is 3 % of a response that takes 6 ms.
So an open loop does not sleep while it awaits a response, nor just before a request is due. It does sleep while others
want its core: a server that shares it would be the slower, and a process that has slept is scheduled sooner. Time that
was waited without sleep is counted apart, as no work (`spun`).
"""

from __future__ import annotations

import resource
import select
import time
from typing import Final

SPIN: Final = 200_000
"""ns before a moment in which the process spins: almost no wake-up is later than that."""

SLEEP_RATIO: Final = 10
"""Spinning is rare enough, even if others want the core, after a sleep so many times longer."""

CHECK_INTERVAL: Final = 50_000_000
"""ns between two checks whether others want the core."""

MOST_PREEMPTIONS: Final = 3
"""Preemptions between two checks …"""

MOST_STOLEN: Final = 1 / 16
"""… and share of the time that others took, from which on the core is contended. The kernel has its own work only now
and then."""

YIELD_TIME: Final = 500_000_000
"""ns for which the process then sleeps instead of spinning."""

now_ns = time.monotonic_ns


class PreciseWait:
    """Waits on an epoll. `most`: sockets that one call reports."""

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
        """Return epoll's events as soon as there are any, or [] at `moment` (ns).

        It may return [] earlier, to be called again. `awaits_responses`: whether any request is in flight.
        """
        events = self._epoll.poll(0, self._most)
        if events:
            return events
        now = now_ns()
        owns_core = self._owns_core(now)
        if owns_core and awaits_responses:
            return self._spin(min(moment, self._check_at))
        spin = SPIN if owns_core or moment - now > SLEEP_RATIO * SPIN else 0
        # epoll_wait(2) counts in ms; select(2) on the epoll itself in µs, and a request must not be sent late.
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
        """Whether no other process wanted this core lately (getrusage(2): ru_nivcsw)."""
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
