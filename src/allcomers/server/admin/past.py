"""The past that the dashboard shows, kept in shared memory: so it outlives the process that writes it.

The supervisor maps it before it starts the admin's process, and each process that replaces one goes on with it. It is
rings of slots: a slot is a record as JSON after its length and checksum, so one that was cut off by the end of its
writer is left out. Workers do not have it: they close it as they are forked.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from allcomers.server.admin.snapshot import Snapshot
from allcomers.system import counters

Record = dict[str, Any]

_HEAD: Final = struct.Struct("=II")
_SLOT: Final = 1536
_RINGS: Final = {"seconds": (0, 300), "tens": (300, 720), "marks": (1020, 200)}
"""Of each ring its first slot and their number: five minutes, two hours of ten seconds each, and the last marks."""

_SLOTS: Final = 1220


class Past:
    """The rings: "seconds" and "tens" have summaries of so many seconds, "marks" what happened. Its memory is taken as
    it fills, 1.9 MB at most."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _SLOT)

    def put(self, ring: str, record: Record) -> None:
        """Keep a record, which has a `number`; the oldest of the ring goes. One that is too long is kept without its
        heat."""
        first, count = _RINGS[ring]
        text = _packed(record)
        if len(text) > _SLOT - _HEAD.size:
            text = _packed({**record, "heat": []})[: _SLOT - _HEAD.size]
        at = (first + record["number"] % count) * _SLOT
        self._memory[at : at + _HEAD.size + len(text)] = _HEAD.pack(len(text), zlib.crc32(text)) + text

    def records(self, ring: str) -> list[Record]:
        """Return the records of a ring, the oldest first."""
        return sorted(self._records(ring), key=lambda record: int(record["number"]))

    def _records(self, ring: str) -> Iterator[Record]:
        first, count = _RINGS[ring]
        for slot in range(first, first + count):
            at = slot * _SLOT + _HEAD.size
            length, check = _HEAD.unpack_from(self._memory, slot * _SLOT)
            text = self._memory[at : at + min(length, _SLOT - _HEAD.size)]
            if length and zlib.crc32(text) == check:
                yield json.loads(text)

    def close(self) -> None:
        """Unmap it in a process that has no use for it."""
        self._memory.close()


def _packed(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()


# ------------------------------------------------------------ marks


def happened(before: Snapshot, after: Snapshot, was_refusing: bool) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of what happened between two snapshots: "reload", "death", "replaced", "overload"."""
    state, began, _ = after.reload
    if began != before.reload[1]:
        yield "reload", "reload"
    elif state != before.reload[0] and state in ("given up", "refused"):
        yield "reload", f"the reload was {state}"
    died, replaced = (after.ended[at] - before.ended[at] for at in (0, 1))
    if died > 0:
        yield "death", f"{_workers(died)} died"
    if replaced > 0:
        yield "replaced", f"{_workers(replaced)} replaced"
    if refused(before, after) and not was_refusing:
        yield "overload", "requests refused: overload"


def refused(before: Snapshot, after: Snapshot) -> bool:
    """Return whether requests were refused between two snapshots because of overload, or of what all clients hold."""
    return any(after.total[cell] > before.total[cell] for cell in (counters.SHED, counters.HELD_REFUSED))


def _workers(count: int) -> str:
    return "a worker" if count == 1 else f"{count} workers"
