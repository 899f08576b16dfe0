"""Accept balance: every worker sees the connections of all; one that has more than its share backs off.

All workers wait for the same listener, and the kernel wakes one of them for each peer (EPOLLEXCLUSIVE); that alone
would give most peers to the worker that waited last. So a worker that has accepted one goes to the end of the kernel's
queue, and one that is ahead of the others leaves the queue for a moment. A listener for each worker (SO_REUSEPORT)
would be even too, but a peer behind a busy worker waits for that one, and a worker that ends takes its backlog with it:
the figures are in docs/design.md, `python -m bench fairness` measures them.

The count of each worker is in its row of the board (counters.py), written by that worker alone: no lock. The board also
has, for all workers, whether the server is about to leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allcomers.system.client_counts import ClientTable
from allcomers.system.counters import (
    ABORTED,
    ACCEPTING,
    ANSWERED,
    CHILD_ROWS,
    CLASSES,
    CLIENT,
    CONNECTIONS,
    DEQUEUED,
    FREE,
    HIGHEST,
    HTTP2_CONNECTIONS,
    LEAVING_SOON,
    MEMORY_FULL,
    MEMORY_HELD,
    NEW,
    PLACES,
    QUEUED,
    REQUESTS,
    SPOOL_HELD,
    STATE,
    SURPLUS,
    CounterBoard,
    CounterRow,
)

ACCEPT_BACKOFF: Final = 0.001
"""Seconds for which a worker that is ahead leaves newcomers to the others."""

TURNS: Final = 8
"""Accept a crowd in this many rounds. One at a time, with a back-off each, a worker accepts about 4,000 per second."""

_NOWHERE: Final = 0
"""The place of a worker for which there is no row: it is not counted, and never backs off."""


def clear(row: memoryview[int]) -> None:
    """Clear the gauges of a process that has ended: what it held has ended with it. So has what it was to answer."""
    row[ABORTED] = max(row[ABORTED], row[REQUESTS] - sum(row[ANSWERED : ANSWERED + CLASSES]))
    row[DEQUEUED] = max(row[DEQUEUED], row[QUEUED])
    for gauge in (CONNECTIONS, HTTP2_CONNECTIONS, SURPLUS, CLIENT, MEMORY_HELD, SPOOL_HELD, MEMORY_FULL):
        row[gauge] = 0


class WorkerSlots:
    """The slots of all workers, for the supervisor.

    It knows by itself which are taken: a worker can write whatever it likes to the board.
    """

    def __init__(self) -> None:
        self.board = CounterBoard()
        self._taken: set[int] = set()
        self._clients: ClientTable | None = None
        self._highest = 0

    def count_clients(self) -> None:
        """Have connections counted by client, in workers that are forked from now on."""
        self._clients = self._clients or ClientTable(self.board)

    def acquire(self) -> WorkerSlot:
        """Return a slot for a new worker."""
        board = self.board
        place = next((place for place in range(1, PLACES) if place not in self._taken), _NOWHERE)
        if place:
            self._taken.add(place)
            self._highest = max(self._highest, place)
            self.restore()
            board.row(place)[STATE] = NEW
        return WorkerSlot(board, place, self._clients)

    def restore(self) -> None:
        """Write down again how many rows there are to read, which a worker may have overwritten."""
        self.board.head[HIGHEST] = self._highest

    def leave_soon(self) -> None:
        """Ask all workers to close connections with their next responses."""
        self.board.head[LEAVING_SOON] = 1

    def spread(self, slots: Sequence[WorkerSlot]) -> list[WorkerSlot]:
        """Have the workers of `slots` let go of the connections that they have above the mean, for a worker that came
        later: clients that keep theirs alive would never reach it. Return those that are to look."""
        rows = [self.board.row(slot.place) for slot in slots]
        most = -(-sum(row[CONNECTIONS] for row in rows) // len(rows)) if rows else 0
        for row in rows:
            row[SURPLUS] = max(0, row[CONNECTIONS] - most)
        return [slot for slot, row in zip(slots, rows, strict=True) if row[SURPLUS]]

    def release(self, slot: WorkerSlot) -> None:
        """Free the slot of a worker that has ended."""
        slot.leave()
        self._taken.discard(slot.place)
        for row in self.board.rows(slot.place) if slot.place else ():
            clear(row)
            row[STATE] = FREE
        if self._clients is not None:
            self._clients.clear(slot.place)


class WorkerSlot:
    """A worker's own place, and its view of the others'.

    place     the number of its row
    counters  the row of its figures
    clients   all connections by client; None where nobody counts them
    """

    def __init__(self, board: CounterBoard, place: int, clients: ClientTable | None = None) -> None:
        self._board = board
        self.place = place
        self.clients = clients
        self.counters = CounterRow(board.row(place) if place else None)
        self._before = self._total()
        self.counters.cells[ACCEPTING] = 1

    def count(self, connections: int) -> None:
        """Set the number of this worker's connections."""
        self.counters.cells[CONNECTIONS] = connections

    def leave(self) -> None:
        """Report that this worker accepts no more peers."""
        self.counters.cells[ACCEPTING] = 0

    @property
    def leaving_soon(self) -> bool:
        """Whether each response is to be the last of its connection, while newcomers are still accepted."""
        return self._board.head[LEAVING_SOON] != 0

    def take_surplus(self) -> int:
        """Return how many clients this worker is to let go, and clear that."""
        cells = self.counters.cells
        count, cells[SURPLUS] = cells[SURPLUS], 0
        return count

    @property
    def answered(self) -> int:
        """The requests that this worker and its children have answered."""
        return self._total() - self._before

    def _total(self) -> int:
        return self._board.answered(self.place) if self.place else self.counters.answers

    def lend_row(self, child: int) -> None:
        """Lend a child this one of the rows for children. Call before the fork."""
        self.counters.cells[CHILD_ROWS] = max(self.counters.cells[CHILD_ROWS], child + 1)

    def be_child(self, child: int) -> None:
        """Count in the child's row from here on. Call in the child."""
        self.counters.cells = self._board.child_row(self.place, child) if self.place else CounterRow().cells

    def be_copy(self) -> None:
        """Count nowhere from here on. Call in a process that the app has forked."""
        self.counters.cells = CounterRow().cells

    def end_child(self, child: int) -> None:
        """Clear the gauges of a child that has ended. Call in its parent."""
        if self.place:
            clear(self._board.child_row(self.place, child))

    def shares(self, slot: int) -> list[int]:
        """Return this slot of the rows of all workers and their children, this one's among them."""
        return self._board.shares(slot) + ([] if self.place else [self.counters.cells[slot]])

    def is_alone(self) -> bool:
        """Return whether no other worker accepts peers."""
        return sum(self._board.column(ACCEPTING)) < 2

    def accept_quota(self, waiting: int) -> int:
        """Return how many of `waiting` peers this worker accepts before it is another's turn: one, where few wait."""
        return 1 + waiting // (TURNS * max(1, sum(self._board.column(ACCEPTING))))

    def is_over_share(self, by: int = 1) -> bool:
        """Return whether this worker has more than `by` connections above the mean."""
        accepting, connections = self._board.column(ACCEPTING), self._board.column(CONNECTIONS)
        counts = [count for accepts, count in zip(accepting, connections, strict=True) if accepts]
        return self.place > 0 and (self.counters.cells[CONNECTIONS] - by) * len(counts) > sum(counts)
