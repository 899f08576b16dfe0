"""Connections by client, over all workers: a table in shared memory that does not grow with the clients.

Each worker has a share of it, ROWS rows of COLUMNS numbers, which it alone writes. A client counts in one column of
each row, chosen by a keyed hash of its address; the number of its connections is the least over the rows, each summed
over the workers (a count-min sketch: Cormode and Muthukrishnan 2005). It is never too low. It is too high only if the
client shares its column with others in every row: with 10,000 clients, by three at most in 61 tables of 62. When a
worker ends, its share is cleared, so what it had counted is forgotten, however it ended.

A client is an IPv4 address or an IPv6 network of 64 bits, the least that one subscriber has (RFC 6177).

The process model reads a PROXY header in the child that serves the peer. So there each child writes its one client into
its row of the board (counters.CLIENT), and the rows are counted.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from allcomers.system.counters import CLIENT, PLACES, CounterBoard
from allcomers.system.processes.forks import new_lock

ROWS: Final = 4
COLUMNS: Final = 8192
SHARE: Final = ROWS * COLUMNS

MOST: Final = (1 << 32) - 1
"""The largest number in a cell: another worker may have written any."""

REPORT_EVERY: Final = 10.0
"""Seconds between two reports of a worker about connections that were refused."""

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""How an IPv6 address begins that stands for an IPv4 one (RFC 4291, 2.5.5.2)."""


class ClientTable:
    """All shares. Make it before the fork of the first worker that uses it, in the process that forks.

    The kernel gives memory to what is written only: a share of one client takes 16 KiB, a full one 128 KiB.
    """

    def __init__(self, board: CounterBoard) -> None:
        self._board = board
        self._map = mmap.mmap(-1, PLACES * SHARE * 4)
        self._cells = memoryview(self._map).cast("I")
        self._secret = os.urandom(16)  # who could choose addresses that collide could lock others out

    def clear(self, place: int) -> None:
        """Forget what the worker in this place has counted."""
        self._map[place * SHARE * 4 : (place + 1) * SHARE * 4] = bytes(SHARE * 4)

    def key(self, peer: str) -> int:
        """Return the number of a client, of 63 bits and never 0."""
        return (hash(self._secret + client_of(peer)) & (1 << 63) - 1) or 1

    def share(self, place: int) -> memoryview:
        """Return the share of the worker in this place."""
        return self._cells[place * SHARE : (place + 1) * SHARE]

    def count(self, key: int) -> int:
        """Return the connections of a client, of all workers."""
        cells, end = self._cells, (self._board.highest + 1) * SHARE
        return min(sum(cells[SHARE + column : end : SHARE]) for column in columns(key))

    def count_children(self, key: int) -> int:
        """Return the connections of a client, of the children of all workers."""
        board = self._board
        places = range(1, board.highest + 1)
        return sum(row[CLIENT] == key for place in places for row in board.rows(place)[1:])


def columns(key: int) -> list[int]:
    """Return the client's index in a share, one for each row."""
    return [row * COLUMNS + (key >> 13 * row) % COLUMNS for row in range(ROWS)]


def client_of(peer: str) -> bytes:
    """Return what connections are counted by: the address, or the network of an IPv6 address."""
    try:
        if ":" not in peer:
            return socket.inet_pton(socket.AF_INET, peer)
        address = socket.inet_pton(socket.AF_INET6, peer.partition("%")[0])
    except OSError:
        return peer.encode()
    return address[12:] if address.startswith(_MAPPED) else address[:8]


class ClientLimit:
    """The limit on the connections of one client, as one worker applies it.

    most    connections; two workers that accept at once may exceed it by one
    report  called, now and then, with the address of a client and the number of connections refused since the last call
    """

    def __init__(self, table: ClientTable, place: int, most: int, report: Callable[[str, int], object]) -> None:
        self._table = table
        self._share = table.share(place)
        self._most = most
        self._report = report
        self._refused = 0  # not reported
        self._report_at = 0.0
        self._row: memoryview[int] | None = None
        self._lock = new_lock()  # what a thread failed to take off would stay there

    def be_child(self, row: memoryview[int]) -> None:
        """Count this process's one client in its row of the board."""
        self._row = row

    def enter(self, peer: str) -> bool:
        """Count a connection of `peer`; or return False, where that has too many. A Unix socket's, "", counts not."""
        if not peer:
            return True
        key = self._table.key(peer)
        present = self._table.count(key) if self._row is None else self._table.count_children(key)
        if present >= self._most:
            self._note_refused(peer)
            return False
        if self._row is not None:
            self._row[CLIENT] = key
        else:
            self._add(key, 1)
        return True

    def leave(self, peer: str) -> None:
        """Count a connection less: one that has entered. Called in any thread; in a child nothing, its parent does."""
        if peer and self._row is None:
            self._add(self._table.key(peer), -1)

    def _add(self, key: int, count: int) -> None:
        share = self._share
        with self._lock:
            for column in columns(key):
                share[column] = min(max(0, share[column] + count), MOST)

    def _note_refused(self, peer: str) -> None:
        self._refused += 1
        now = monotonic()
        if now >= self._report_at:
            self._report_at = now + REPORT_EVERY
            self._report(peer, self._refused)
            self._refused = 0
