"""The body of a message while it comes: in memory, then in a temporary file."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import IO, ClassVar, Final, Protocol

SPOOL_AT = 512 * 1024
"""Bytes of a request body that are held in memory; a longer one goes to a temporary file."""

UNCOUNTED = 4 * 1024
"""Bytes of a peer that do not count among those that are held for all: a connection costs as much itself."""


FULL: Final = "too much is held for other clients; try again in a moment"
"""The reason that a refused client is given."""


class BodyLedger(Protocol):
    """Counts the bodies of this process: a system.memory.ledger.Ledger.

    tight  bool: memory is short, and bodies are to go to disk at once
    """

    tight: bool

    def hold_memory(self, change: int) -> None: ...
    def hold_spool(self, change: int) -> None:
        """Count bytes before they are written. Raises OSError where there is no room for them."""
        ...


class NoLedger:
    """Counts nothing: of a process that has no bounds."""

    tight = False

    def hold_memory(self, change: int) -> None:
        """Ignore it."""

    def hold_spool(self, change: int) -> None:
        """Ignore it."""


class Body:
    """A body while it comes: in memory up to SPOOL_AT, then in a temporary file (deleted once closed).

    ledger  counts all bodies of the process, also those of apps, which know no connection; its worker sets it
    """

    __slots__ = ("_in_memory", "_on_disk", "file", "size")
    ledger: ClassVar[BodyLedger] = NoLedger()

    def __init__(self, whole: bytes = b"") -> None:
        self.file: IO[bytes] = io.BytesIO(whole)
        self.size = len(whole)
        self._in_memory = self._on_disk = 0  # bytes that are counted

    def write(self, piece: bytes, last: bool = False) -> None:
        """Append `piece`; after the `last`, rewind. Raises OSError where the file cannot be written."""
        size = self.size + len(piece)
        if self._on_disk:
            self._count_on_disk(len(piece))
        elif size > SPOOL_AT or (self.ledger.tight and size > UNCOUNTED):
            self._spool(size)
        elif size > UNCOUNTED:
            self.ledger.hold_memory(size - self._in_memory)
            self._in_memory = size
        self.file.write(piece)
        self.size = size
        if last:
            self.rewind()

    def overwrite(self, offset: int, piece: memoryview) -> None:
        """Write `piece` there, at most at the end, and in the temporary file from the first byte on: for a body that
        goes out while it comes. Raises OSError where the file cannot be written."""
        size = max(self.size, offset + len(piece))
        if not self.size:
            self._spool(size)
        elif size > self.size:
            self._count_on_disk(size - self.size)
        self.size = size
        while piece:
            count = os.pwrite(self.file.fileno(), piece, offset)
            piece, offset = piece[count:], offset + count

    def _spool(self, size: int) -> None:
        """Go on in a temporary file, with what is here and what follows: `size` bytes."""
        import tempfile  # late: it takes longer to load than the rest of a small server

        self._count_on_disk(size)
        memory, self.file = self.file, tempfile.TemporaryFile(prefix="allcomers-")
        memory.seek(0)
        self.file.write(memory.read())
        memory.close()
        self._count_no_memory()

    def _count_on_disk(self, size: int) -> None:
        self.ledger.hold_spool(size)
        self._on_disk += size

    def _count_no_memory(self) -> None:
        held, self._in_memory = self._in_memory, 0
        if held:
            self.ledger.hold_memory(-held)

    def rewind(self) -> None:
        """Move the file to its first byte, for the next read."""
        self.file.seek(0)

    def close(self) -> None:
        """Close the file; also a second time. Raise nothing: what its buffer still holds is dropped, for a full disk
        would not take it."""
        self._count_no_memory()
        held, self._on_disk = self._on_disk, 0
        if held:
            self.ledger.hold_spool(-held)
        with suppress(OSError):
            getattr(self.file, "raw", self.file).close()
