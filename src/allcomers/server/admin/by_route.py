"""Figures by route, of all workers: since the server started, and of the last minute."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from allcomers.server.admin import interval
from allcomers.server.logs.entry_form import escaped
from allcomers.system import counters
from allcomers.system.diagnostics.route_board import RouteBoard

EVERY: Final = 5.0
"""Seconds between two looks: each adds up some thousand numbers of each route."""

SPAN: Final = 60.0

Cells = dict[str, list[int]]


def totals(board: RouteBoard, highest: int) -> Cells:
    """Return the counts of each route since the server started, of workers up to the place `highest`."""
    rows: dict[str, list[memoryview[int]]] = {}
    for name, row in board.named_rows(highest):
        rows.setdefault(escaped(name), []).append(row)
    added = {name: [sum(column) for column in zip(*found, strict=True)] for name, found in rows.items()}
    return {name: cells for name, cells in added.items() if _answered(cells)}


class RouteFigures:
    """What routes do; nothing where nobody counts by route."""

    def __init__(self, board: RouteBoard | None) -> None:
        self._board = board
        self._past: deque[tuple[float, Cells]] = deque()
        self._figures: list[dict[str, Any]] = []

    def now(self, time: float, highest: int) -> list[dict[str, Any]]:
        """Return the figures of each route, the one with most requests in the last minute first; they are looked up
        each EVERY seconds.

        count, failures   since the server started; failures are answers 500 to 599
        tps, mean, p50, p99  over the last minute; times are in seconds, from the app's call until its response begins
        """
        if self._board is None or (self._past and time < self._past[-1][0] + EVERY):
            return self._figures
        cells_of = totals(self._board, highest)
        while len(self._past) > 1 and self._past[1][0] <= time - SPAN:
            self._past.popleft()
        then, before = self._past[0] if self._past else (time - EVERY, {})
        self._past.append((time, cells_of))
        figures = [_figures(name, before.get(name), cells, time - then) for name, cells in cells_of.items()]
        self._figures = sorted(figures, key=lambda each: (-each["tps"], each["route"]))
        return self._figures


def _figures(name: str, before: list[int] | None, after: list[int], seconds: float) -> dict[str, Any]:
    changes = after if before is None else interval.differences(before, after)
    figures = interval.figures(changes, max(1e-3, seconds))
    return {
        "route": name,
        "count": _answered(after),
        "failures": after[counters.ANSWERED + 5],
        **{name: float(f"{figures[name]:.4g}") for name in ("tps", "mean", "p50", "p99")},
    }


def _answered(cells: list[int]) -> int:
    return sum(cells[counters.ANSWERED : counters.ANSWERED + counters.CLASSES])
