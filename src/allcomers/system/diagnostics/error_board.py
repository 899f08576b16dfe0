"""The last errors of each worker, in shared memory: they outlive the worker, and a worker that hangs need not be asked.

Each place has ENTRIES entries of SIZE bytes, written by its worker alone; children of the process model share those of
their parent, and of two errors at the same moment one may be lost. An error that comes again is counted in its entry;
else the entry that was written longest ago gives way.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from time import time_ns
from typing import Final, NamedTuple

from allcomers.system.counters import PLACES

ENTRIES: Final = 8
SIZE: Final = 4096

_HEAD: Final = struct.Struct("=QQQII")
"""key, count, time in nanoseconds since 1970, process id, bytes of text."""

MOST: Final = SIZE - _HEAD.size
"""Bytes of an entry's text."""

_LAST_TIME: Final = 1 << 62


class ErrorEntry(NamedTuple):
    """An error, or several that are alike.

    place  of the worker
    pid    of the process that had the last of them
    time   of that, in seconds since 1970
    number  how many there were
    text   a line, then the stack
    """

    place: int
    pid: int
    time: float
    number: int
    text: str


class ErrorBoard:
    """The entries of all workers. Make it before the first fork, in the process that forks.

    The kernel gives memory only to what is written.
    """

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, PLACES * ENTRIES * SIZE)

    def count(self, place: int, key: int, pid: int) -> bool:
        """Count an error once more in its entry; return False if it has none."""
        for at in _entries(place):
            found, count, when, _, length = _HEAD.unpack_from(self._map, at)
            if found == key and when:
                _HEAD.pack_into(self._map, at, key, (count + 1) & (1 << 64) - 1, time_ns(), pid, length)
                return True
        return False

    def add(self, place: int, key: int, pid: int, text: str) -> None:
        """Write a new error in the place of the oldest; `text` is cut to MOST bytes."""
        data = text.encode(errors="backslashreplace")[:MOST]
        at = min(_entries(place), key=lambda at: int(_HEAD.unpack_from(self._map, at)[2]))
        self._map[at + _HEAD.size : at + _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._map, at, key, 1, time_ns(), pid, len(data))

    def entries(self, highest: int) -> list[ErrorEntry]:
        """Return the errors of the places up to `highest`, the last first."""
        found = [entry for place in range(1, highest + 1) for entry in self._of(place)]
        return sorted(found, key=lambda entry: -entry.time)

    def _of(self, place: int) -> Iterator[ErrorEntry]:
        for at in _entries(place):
            _, count, when, pid, length = _HEAD.unpack_from(self._map, at)
            if when:
                data = self._map[at + _HEAD.size : at + _HEAD.size + min(length, MOST)]
                yield ErrorEntry(place, pid, min(when, _LAST_TIME) / 1e9, count, data.decode(errors="replace"))


def _entries(place: int) -> range:
    """Return where the entries of a place begin."""
    return range(place * ENTRIES * SIZE, (place + 1) * ENTRIES * SIZE, SIZE)
