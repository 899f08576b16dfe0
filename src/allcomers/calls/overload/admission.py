"""Admission: whether a request may be called, by the waits at the three places where requests wait in a worker.

    queue    of the pool: from when a call is given to it until a thread has it
    turn     of a loop that runs calls itself, or an async app's tasks: requests wait in their sockets until it comes to
             them. In a loop that is never idle each waits for about one turn, so a turn's length is the wait
    backlog  of a blocking model: until there is a place for the peer

While requests are late (delay.py), a request is refused before its call begins, with 503 and Retry-After: at the queue
where that is as long as what is answered in one and a half targets, so that it need not enter it; in a turn when calls
have run for one target, so that with the turn before none waits for much more than two; at the backlog when the peer
has waited for two. The age of the oldest call would say too late that the queue is long: five times too many have come
behind it by then. (A call in the queue that has waited for two targets is refused, too: those of the time before.)

Served is who came first, not last (an adaptive LIFO): a refusal comes at once, so nobody in the queue waits longer than
two targets, and newest first would only spread these waits. The connection stays open: to open another costs client and
server more than this response does.

The queue's target is never below half the time that a call takes: to wait as long as the call itself is no overload. An
async app's calls go on after they have begun: no more begin in a turn than let turns take one and a half targets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic
from typing import Final

from allcomers.calls.overload.delay import CALM, INTERVAL, Delay
from allcomers.system.counters import ANSWERED, APP_TIME, CALLS, CLASSES, REQUESTS, SHED, CounterRow

_logger = logging.getLogger("allcomers.overload")

FULLER: Final = 1.5
"""Targets that calls may wait in the queue, and that a turn of an async app may take. Above 1, so that waits stay above
the target while there is overload; below delay.ROOM."""

QUIET: Final = 10.0
"""Seconds between two lines of the log that report overload."""


def _none() -> int:
    return 0


class Admission:
    """What is refused in one worker.

    target  seconds: see Delay; math.inf: nothing is refused
    tasks   whether calls are tasks of an async app

    late       bool: ask refuses() for each request
    queued     returns the number of calls in the pool's queue
    on_change  called when `late` has changed
    counters   of the worker
    """

    def __init__(self, target: float = math.inf, counters: CounterRow | None = None, *, tasks: bool = False) -> None:
        self.late = False
        self.queued: Callable[[], int] = _none
        self.on_change: Callable[[bool], object] = lambda late: None
        self.queue, self.turn, self.backlog = (Delay(target, self._changed) for _ in range(3))
        self._target = target
        self._tasks = tasks
        self.counters = counters or CounterRow()
        self._requests = 0  # that had come by the end of the last turn that was reported
        self._measured = (0, 0, 0, 0.0)  # calls, their time, responses and the time, when they were last looked at
        self._capacity = 1.0  # calls that may wait in the queue, or begin in a turn of an async app
        self._begun = 0  # calls of an async app that began in this turn, while requests are late
        self._log = _OverloadLog()

    # ------------------------------------------------------------ waits

    def waited(self, wait: float, now: float) -> None:
        """Note how long a call has waited in the queue. Called where that is above the target, or it is not CALM."""
        self._measure(now)
        self.queue.observe(wait, now)

    def turned(self, took: float, now: float) -> None:
        """Note how long a turn took, which ends now. Called where that is above the target, or they are not CALM."""
        requests = self.counters.cells[REQUESTS]
        came, self._requests = requests - self._requests, requests
        was_late = self.turn.late
        # The request that a turn begins with has not waited for it; a turn of one long call is no queue.
        self.turn.observe(took * (came - 1) / came if came else 0.0, now)
        if self._tasks and self.turn.late:
            self._adapt(self._begun if was_late else came, took)
        self._begun = 0

    def _adapt(self, begun: int, took: float) -> None:
        """Set how many calls may begin in a turn, so that it takes FULLER targets: `begun` led to one of `took`."""
        wanted = FULLER * self._target / max(took, 1e-6)
        if wanted < 1 or begun >= self._capacity:  # else there were no more
            self._capacity = max(1.0, begun * max(0.5, min(2.0, wanted)))

    def lasts(self, took: float, now: float) -> None:
        """Note that a turn takes so long already, where that is more than two targets: it may take seconds."""
        if not self.turn.late:
            self.turn.observe(took, now)

    def accepted(self, wait: float, now: float) -> None:
        """Note how long a peer has waited in the backlog."""
        if wait > self.backlog.target or self.backlog.state is not CALM:
            self.backlog.observe(wait, now)

    def _measure(self, now: float) -> None:
        """Measure calls when waits in the queue begin to be long; then in each half of an interval, while all threads
        are busy."""
        calls, app_time, answered, then = self._measured
        if self.queue.state is not CALM and now - then < INTERVAL / 2 * self._target:
            return
        cells = self.counters.cells
        self._measured = cells[CALLS], cells[APP_TIME], _answered(cells), now
        if cells[CALLS] > calls:
            self.queue.target = max(self._target, (cells[APP_TIME] - app_time) / (cells[CALLS] - calls) / 2e9)
        rate = (_answered(cells) - answered) / max(1e-3, now - then)
        self._capacity = max(1.0, FULLER * self.queue.target * rate)

    # ------------------------------------------------------------ requests

    def refuses(self, ready_at: float, now: float, inline: bool) -> bool:
        """Return whether a request is to be refused, and count it then. Called while `late`.

        ready_at  when the poller reported its peer
        inline    whether its call would run in the loop's own thread, or as a task of it
        """
        return self._count(self._refuses_inline(ready_at, now) if inline else self._refuses_queued())

    def _refuses_queued(self) -> bool:
        return self.queue.late and self.queued() >= self._capacity

    def _refuses_inline(self, ready_at: float, now: float) -> bool:
        if not self.turn.late:
            return False
        if now - ready_at > self._target:
            return True
        if not self._tasks:
            return False
        if self._begun >= self._capacity:
            return True
        self._begun += 1
        return False

    def refuses_dequeued(self, wait: float) -> bool:
        """Return whether a call that has waited for so long is to be refused after all, and count it then."""
        return self._count(self.queue.late and wait > self.queue.room)

    def refuses_peer(self, wait: float) -> bool:
        """Return whether a peer that has waited for so long is to be refused, and count it then."""
        return self._count(self.backlog.late and wait > self.backlog.room)

    def _count(self, refused: bool) -> bool:
        if refused:
            self.counters.add(SHED)
        return refused

    def _changed(self) -> None:
        self.late = self.queue.late or self.turn.late
        self.on_change(self.late)
        self._log.note(self.late or self.backlog.late, self.counters.cells[SHED])


class _OverloadLog:
    """A line when requests begin to be refused, and one when that is over: not more than that in QUIET seconds."""

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._began: tuple[float, int] | None = None  # when, and the refusals by then

    def note(self, late: bool, refused: int) -> None:
        now = monotonic()
        if late and self._began is None and now >= self._quiet_until:
            self._began, self._quiet_until = (now, refused), now + QUIET
            _logger.warning("overload: requests wait too long; those that would wait longer still get 503")
        elif not late and self._began is not None:
            (since, before), self._began = self._began, None
            _logger.warning("overload is over after %.1f s: %d requests got 503", now - since, refused - before)


def _answered(cells: memoryview[int]) -> int:
    """Return the responses that are no refusals."""
    return sum(cells[ANSWERED : ANSWERED + CLASSES]) - cells[SHED]
