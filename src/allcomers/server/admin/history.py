"""A look each second, kept for ten minutes; and who waits for the next one.

One thread looks, whoever asks: so a second has the same figures for all, and who watches costs nothing but the sending.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from allcomers.server.admin import interval
from allcomers.server.admin.snapshot import Look, look
from allcomers.system.counters import CounterBoard

_logger = logging.getLogger("allcomers.admin")

EVERY: Final = 1.0
"""Seconds between two looks."""

KEPT: Final = 600
"""Looks whose figures are kept."""

WINDOWS: Final = (1, 10, 60)
"""Seconds over which figures are given."""

_BRIEF: Final = (
    "qps", "tps", "answers", "aborted", "bytes_in", "bytes_out", "p50", "p90", "p99", "p99.9", "max", "busy", "lag",
    "in_app", "wait",
)  # fmt: skip
"""Of each second that is past."""


class History:
    """Samples, by their numbers: 1 is the first.

    A sample has the server's state, its gauges (users, in_progress, queue), the figures over each of WINDOWS, the heat
    of its second, and the workers.
    """

    def __init__(self, board: CounterBoard) -> None:
        self._board = board
        self._looks: deque[Look] = deque(maxlen=WINDOWS[-1] + 1)  # of older ones, without their workers
        self._cpu: deque[float] = deque(maxlen=WINDOWS[-1])
        self._past: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._news = threading.Condition()
        self._last: dict[str, Any] = {}
        self._looks.append(look(board))

    def start(self) -> None:
        """Begin to look, in a thread of its own, for as long as the process lives."""
        threading.Thread(target=self._run, name="looks", daemon=True).start()

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + EVERY, time.monotonic())  # who was stopped for a while does not make up for it
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.take()
            except Exception:  # the next second may be told again
                _logger.exception("a look at the figures failed")

    def take(self) -> None:
        """Look now."""
        after, before = look(self._board), self._looks[-1]
        sample = self._sample(before, after)
        self._looks[-1] = replace(before, workers=[])
        self._looks.append(after)
        with self._news:
            self._last = sample
            self._past.append(brief(sample))
            self._news.notify_all()

    def _sample(self, before: Look, after: Look) -> dict[str, Any]:
        self._cpu.append(interval.cpu(before, after))
        then = {worker.place: worker for worker in before.workers}
        seconds = max(1e-3, after.time - before.time)
        return {
            "number": self._last.get("number", 0) + 1,
            "time": time.time(),
            "stage": after.stage,
            "scheme": after.scheme,
            "ready": after.ready,
            "wanted": after.wanted,
            **interval.gauges(after.total),
            "memory": sum(worker.memory for worker in after.workers),
            "windows": {str(size): shortened(self._window(size, after)) for size in WINDOWS},
            "heat": interval.heat(before, after),
            "totals": interval.totals(after.total),
            "workers": [
                shortened(interval.of_worker(then.get(worker.place), worker, seconds, after.time))
                for worker in after.workers
                if worker.state != "free"
            ],
        }

    def _window(self, size: int, after: Look) -> dict[str, Any]:
        looks = self._looks
        recent = list(self._cpu)[-size:]
        figures = interval.between(looks[max(0, len(looks) - size)], after)
        return {**figures, "cpu": sum(recent) / len(recent)}

    # ------------------------------------------------------------ for who watches

    @property
    def last(self) -> Mapping[str, Any]:
        """The last sample; empty before the first."""
        return self._last

    def past(self) -> list[dict[str, Any]]:
        """The seconds that are kept, in brief, the oldest first."""
        with self._news:
            return list(self._past)

    def after(self, number: int, patience: float) -> Mapping[str, Any] | None:
        """The last sample, once it is a later one than `number`; None if none comes in so many seconds."""
        with self._news:
            self._news.wait_for(lambda: self._last.get("number", 0) > number, patience)
            return self._last if self._last.get("number", 0) > number else None


def brief(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a second."""
    second = sample["windows"]["1"]
    names = ("number", "time", "stage", "users", "in_progress", "queue", "memory", "heat")
    return {name: sample[name] for name in names} | {name: second[name] for name in (*_BRIEF, "cpu")}


def shortened(value: Any) -> Any:
    """A figure to four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value
