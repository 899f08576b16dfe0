"""A sample of the figures each second, kept for ten minutes; watchers wait for the next one.

One thread takes the samples: so a second has the same figures for all watchers, and one more of them costs only the
sending.
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
from allcomers.server.admin.by_route import RouteFigures
from allcomers.server.admin.errors import recent_errors
from allcomers.server.admin.snapshot import Snapshot, snapshot
from allcomers.system.counters import CounterBoard
from allcomers.system.diagnostics.board import DiagnosticBoard

_logger = logging.getLogger("allcomers.admin")

EVERY: Final = 1.0
"""Seconds between two samples."""

KEPT: Final = 600
"""Samples that are kept."""

WINDOWS: Final = (1, 10, 60)
"""Spans of the figures, in seconds."""

_SUMMARY: Final = (
    "qps", "tps", "answers", "aborted", "shed", "bytes_in", "bytes_out", "p50", "p90", "p99", "p99.9", "max", "busy",
    "lag", "in_app", "wait",
)  # fmt: skip
"""Figures that are kept of each past second."""


class History:
    """Samples, numbered from 1.

    A sample has the server's state, its gauges (users, http2_users, in_progress, queue, held, spool) and their bounds,
    the figures over each of WINDOWS, the heat of its second, the workers, the routes and the last errors without their
    stacks.
    """

    def __init__(self, board: CounterBoard, diagnostics: DiagnosticBoard) -> None:
        self._board = board
        self._diagnostics = diagnostics
        self._routes = RouteFigures(diagnostics.routes)
        self._snapshots: deque[Snapshot] = deque(maxlen=WINDOWS[-1] + 1)  # older ones without their workers
        self._cpu: deque[float] = deque(maxlen=WINDOWS[-1])
        self._past: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._last: dict[str, Any] = {}
        self._snapshots.append(snapshot(board))

    def start(self) -> None:
        """Take samples in a thread, until the process ends."""
        threading.Thread(target=self._run, name="samples", daemon=True).start()

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + EVERY, time.monotonic())  # seconds in which the process was stopped are skipped
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.sample()
            except Exception:  # the next sample may succeed
                _logger.exception("a sample of the figures failed")

    def sample(self) -> None:
        """Take a sample now."""
        after, before = snapshot(self._board), self._snapshots[-1]
        sample = self._sample(before, after)
        self._snapshots[-1] = replace(before, workers=[])
        self._snapshots.append(after)
        with self._changed:
            self._last = sample
            self._past.append(summary(sample))
            self._changed.notify_all()

    def _sample(self, before: Snapshot, after: Snapshot) -> dict[str, Any]:
        self._cpu.append(interval.cpu(before, after))
        earlier = {worker.place: worker for worker in before.workers}
        seconds = max(1e-3, after.time - before.time)
        return {
            "number": self._last.get("number", 0) + 1,
            "time": time.time(),
            "stage": after.stage,
            "scheme": after.scheme,
            "ready": after.ready,
            "wanted": after.wanted,
            "least": after.range[0],
            "most": after.range[1],
            "scaled": interval.scaled(after),
            "reload": interval.reload(after),
            **interval.gauges(after.total),
            **interval.bounds(after),
            "memory": sum(worker.memory for worker in after.workers),
            "windows": {str(size): shortened(self._window(size, after)) for size in WINDOWS},
            "heat": interval.heat(before, after),
            "totals": interval.totals(after.total),
            "workers": [
                shortened(interval.of_worker(earlier.get(worker.place), worker, seconds, after.time))
                for worker in after.workers
                if worker.state != "free"
            ],
            "routes": self._routes.now(after.time, self._board.highest),
            "errors": [{**error, "stack": ""} for error in self.errors()],
        }

    def _window(self, size: int, after: Snapshot) -> dict[str, Any]:
        snapshots = self._snapshots
        recent = list(self._cpu)[-size:]
        figures = interval.between(snapshots[max(0, len(snapshots) - size)], after)
        return {**figures, "cpu": sum(recent) / len(recent)}

    # ------------------------------------------------------------ for watchers

    @property
    def last(self) -> Mapping[str, Any]:
        """The last sample; empty before the first."""
        return self._last

    def errors(self) -> list[dict[str, Any]]:
        """Return the last errors, with their stacks."""
        return recent_errors(self._diagnostics.errors, self._board.highest)

    def past(self) -> list[dict[str, Any]]:
        """Return summaries of the seconds that are kept, the oldest first."""
        with self._changed:
            return list(self._past)

    def after(self, number: int, patience: float) -> Mapping[str, Any] | None:
        """Wait for a sample after `number` and return the last one; None if none comes within `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._last.get("number", 0) > number, patience)
            return self._last if self._last.get("number", 0) > number else None


def summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a sample that is kept."""
    second = sample["windows"]["1"]
    names = ("number", "time", "stage", "wanted", "users", "in_progress", "queue", "memory", "heat")
    return {name: sample[name] for name in names} | {name: second[name] for name in (*_SUMMARY, "cpu")}


def shortened(value: Any) -> Any:
    """Round a figure to four digits; in dicts, each."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value
