"""Counts by route, in shared memory: a row of each route of a worker has the form of the worker's own (counters.py).

Each place has ROUTES rows and one for all others, and the name of each. They are never set back: the next worker in the
place goes on with them. The first PLACES workers have some of their own; those beyond are not counted by route.

A worker writes its names and rows alone. Children of the process model share them with their parent, so of two that
meet a new route at once one may count under the other's name, and counts of the same moment may be lost.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final

from allcomers.system.counters import SIZE, SLOTS, CounterRow
from allcomers.system.processes.forks import new_lock

ROUTES: Final = 50
"""Routes that are told apart; the rest count as one."""

PLACES: Final = 128

OTHERS: Final = "(others)"

NAME: Final = 128
"""Bytes of a name: its length, then so many of UTF-8."""

LONGEST: Final = NAME - 1

_ROWS: Final = ROUTES + 1


class RouteBoard:
    """The rows of all workers. Make it before the first fork, in the process that forks.

    The kernel gives memory only to what is written.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, PLACES * _ROWS * SIZE)).cast("Q")
        self._names = mmap.mmap(-1, PLACES * _ROWS * NAME)

    def row(self, place: int, number: int) -> memoryview[int]:
        begin = (place * _ROWS + number) * SLOTS
        return self._cells[begin : begin + SLOTS]

    def name(self, place: int, number: int) -> str:
        """Return the name of a row; "" for one that is free."""
        if number == ROUTES:
            return OTHERS
        begin = (place * _ROWS + number) * NAME
        length = self._names[begin]
        return self._names[begin + 1 : begin + 1 + min(length, LONGEST)].decode(errors="replace")

    def set_name(self, place: int, number: int, name: bytes) -> None:
        begin = (place * _ROWS + number) * NAME
        self._names[begin + 1 : begin + 1 + len(name)] = name
        self._names[begin] = len(name)

    def named_rows(self, highest: int) -> Iterator[tuple[str, memoryview[int]]]:
        """Yield each name and its row, of the places up to `highest`; a name comes once for each of them."""
        for place in range(1, min(highest + 1, PLACES)):
            for number in range(_ROWS):
                if name := self.name(place, number):
                    yield name, self.row(place, number)


class RouteCounts:
    """The rows of this process."""

    def __init__(self, board: RouteBoard, place: int) -> None:
        self._board = board
        self._place = place
        self._rows: dict[str, CounterRow] = {}
        self._others = CounterRow(board.row(place, ROUTES))
        self._is_full = False  # and `_rows` has all of them
        self._lock = new_lock()

    def answered(self, name: str, status: int, seconds: float) -> None:
        """Count a response of the route of this name: ASCII, at most LONGEST characters."""
        row = self._rows.get(name)
        if row is None:
            row = self._others if self._is_full else self._find(name)
        row.answered(status, seconds)

    def _find(self, name: str) -> CounterRow:
        """Return the row of a name: the one that has it, else a free one, which gets it, else that of the others."""
        with self._lock:
            for number in range(ROUTES):
                found = self._board.name(self._place, number)
                if not found:
                    self._board.set_name(self._place, number, name.encode("ascii"))
                    found = name
                row = self._rows.setdefault(found, CounterRow(self._board.row(self._place, number)))
                if found == name:
                    return row
            self._is_full = True
            return self._others
