"""A sample of the figures each second, a summary of each ten, kept for two hours; watchers wait for the next one.

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
from allcomers.server.admin.past import Past, happened, refused
from allcomers.server.admin.snapshot import Snapshot, snapshot
from allcomers.system.counters import CounterBoard
from allcomers.system.diagnostics.board import DiagnosticBoard

_logger = logging.getLogger("allcomers.admin")

EVERY: Final = 1.0
"""Seconds between two samples."""

WINDOWS: Final = (1, 10, 60)
"""Spans of the figures, in seconds."""

TEN: Final = 10
"""Samples from one summary for the longer past to the next."""

_RECENT: Final = 5
"""Marks that a sample has: a watcher may miss some samples."""

_CALM: Final = 10.0
"""Seconds without a refusal after which the next one is marked again."""

_SUMMARY: Final = (
    "qps", "tps", "answers", "statuses", "aborted", "shed", "bytes_in", "bytes_out", "p50", "p90", "p99", "p99.9",
    "max", "busy", "lag", "in_app", "wait",
)  # fmt: skip
"""Figures that are kept of each past second."""


class History:
    """Samples, numbered from 1.

    A sample has the server's state, its gauges (users, http2_users, in_progress, queue, held, spool) and their bounds,
    the figures over each of WINDOWS, the heat of its second, the workers, the routes, the last errors without their
    stacks, and the last marks: what happened, and when. Each tenth has the summary of ten seconds, too.
    """

    def __init__(self, board: CounterBoard, past: Past, diagnostics: DiagnosticBoard) -> None:
        self._board = board
        self._past = past
        self._diagnostics = diagnostics
        self._routes = RouteFigures(diagnostics.routes)
        self._snapshots: deque[Snapshot] = deque(maxlen=WINDOWS[-1] + 1)  # older ones without their workers
        self._cpu: deque[float] = deque(maxlen=WINDOWS[-1])
        self._changed = threading.Condition()
        self._last: dict[str, Any] = {}
        self._number = max((record["number"] for record in past.records("seconds")), default=0)
        self._marks = deque(past.records("marks")[-_RECENT:], maxlen=_RECENT)
        self._refused_at = -_CALM
        if self._number:
            self._mark("page", "the process of this page was replaced")
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
        self._mark_all(before, after)
        self._snapshots[-1] = replace(before, workers=[])
        self._snapshots.append(after)
        tens = {}
        if not sample["number"] % TEN:
            ten_ago = self._snapshots[max(0, len(self._snapshots) - 1 - TEN)]
            tens = {"ten": summary(sample, str(TEN), interval.heat(ten_ago, after))}
        with self._changed:
            self._number = sample["number"]
            self._last = {**sample, "marks": list(self._marks), **tens}
            self._past.put("seconds", summary(sample, "1", sample["heat"]))
            if tens:
                self._past.put("tens", tens["ten"])
            self._changed.notify_all()

    def _mark_all(self, before: Snapshot, after: Snapshot) -> None:
        was_refusing = after.time - self._refused_at < _CALM
        if refused(before, after):
            self._refused_at = after.time
        for kind, text in happened(before, after, was_refusing):
            self._mark(kind, text)

    def _mark(self, kind: str, text: str) -> None:
        number = self._marks[-1]["number"] + 1 if self._marks else 1
        self._marks.append({"number": number, "time": time.time(), "kind": kind, "text": text})
        self._past.put("marks", self._marks[-1])

    def _sample(self, before: Snapshot, after: Snapshot) -> dict[str, Any]:
        self._cpu.append(interval.cpu(before, after))
        earlier = {worker.place: worker for worker in before.workers}
        seconds = max(1e-3, after.time - before.time)
        return {
            "number": self._number + 1,
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

    def past(self) -> dict[str, list[dict[str, Any]]]:
        """Return what is kept, the oldest first: summaries of single seconds and of ten, and marks."""
        with self._changed:
            rings = {"past": "seconds", "tens": "tens", "marks": "marks"}
            return {name: self._past.records(ring) for name, ring in rings.items()}

    def after(self, number: int, patience: float) -> Mapping[str, Any] | None:
        """Wait for a sample after `number` and return the last one; None if none comes within `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number and bool(self._last), patience)
            return self._last if self._last and self._number > number else None


def summary(sample: Mapping[str, Any], window: str, heat: list[list[int]]) -> dict[str, Any]:
    """Return the part of a sample that is kept, with the figures over one of its windows."""
    figures = sample["windows"][window]
    names = ("number", "time", "stage", "wanted", "users", "in_progress", "queue", "memory")
    kept = {name: sample[name] for name in names} | {name: figures[name] for name in (*_SUMMARY, "cpu")}
    return {**kept, "heat": heat}


def shortened(value: Any) -> Any:
    """Round a figure to four digits; in dicts, each."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value
