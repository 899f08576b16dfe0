"""Header blocks decoded (RFC 7541): indices, literals, and the dynamic table that they change."""

from __future__ import annotations

from typing import Final

from allcomers.errors import CompressionError
from allcomers.protocol.head import Fields
from allcomers.protocol.hpack import huffman
from allcomers.protocol.hpack.static_table import STATIC

TABLE_SIZE: Final = 4096
"""The size of a dynamic table before any SETTINGS (RFC 9113, 6.5.2)."""

OVERHEAD: Final = 32
"""Bytes that a field costs beside its name and value (RFC 7541, 4.1)."""

_MOST_SHIFT: Final = 21  # a number of more than four further bytes is none that anything here could have


class Decoder:
    """The decoder of one peer's header blocks, with its dynamic table (RFC 7541, 2.3).

    changed  bool: the last block has changed the table
    table    the dynamic table, the newest field last
    size     int: that of the last block's fields, as RFC 7541, 4.1 counts them; also of those that were left out
    """

    __slots__ = ("_limit", "_most", "_occupied", "changed", "size", "table")

    def __init__(self, limit: int = TABLE_SIZE) -> None:
        self._limit = limit  # what our SETTINGS allow
        self._most = min(limit, TABLE_SIZE)  # what the peer has chosen
        self._occupied = 0
        self.table: Fields = []
        self.changed = False
        self.size = 0

    def decode(self, block: bytes, most: int) -> Fields:
        """Return the fields of a whole block; those beyond `most` bytes are left out.

        Raises CompressionError: the table is lost, and the connection with it.
        """
        fields: Fields = []
        size = at = 0
        self.changed = False
        try:
            while at < len(block):
                byte = block[at]
                if byte >= 0x80:  # 6.1: an indexed field
                    index, at = _integer(block, at, 0x7F)
                    field = self._field(index)
                elif byte >= 0x40:  # 6.2.1: a literal that is added to the table
                    field, at = self._literal(block, at, 0x3F)
                    self._add(field)
                elif byte < 0x20:  # 6.2.2, 6.2.3: other literals
                    field, at = self._literal(block, at, 0x0F)
                else:
                    at = self._resize(block, at, size > 0)
                    continue
                size += len(field[0]) + len(field[1]) + OVERHEAD
                if size <= most:
                    fields.append(field)
        except IndexError:
            raise CompressionError("a header block ends within a field") from None
        self.size = size
        return fields

    def _field(self, index: int) -> tuple[bytes, bytes]:
        """Return the field with this index in both tables (RFC 7541, 2.3.3)."""
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        if not 0 < index - len(STATIC) <= len(self.table):
            raise CompressionError("an index is beyond the tables")
        return self.table[len(STATIC) - index]

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._field(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _add(self, field: tuple[bytes, bytes]) -> None:
        """Add a field, for which older ones go (RFC 7541, 4.4)."""
        self.changed = True
        size = len(field[0]) + len(field[1]) + OVERHEAD
        self._shrink(self._most - size)
        if size <= self._most:
            self.table.append(field)
            self._occupied += size

    def _resize(self, block: bytes, at: int, is_late: bool) -> int:
        """Take a size that the peer has chosen for its table (RFC 7541, 4.2, 6.3)."""
        size, at = _integer(block, at, 0x1F)
        if is_late or size > self._limit:
            raise CompressionError("the size of the table changes within a block, or beyond its limit")
        self.changed = True
        self._most = size
        self._shrink(size)
        return at

    def _shrink(self, most: int) -> None:
        """Drop the oldest fields until the others have at most `most` bytes (RFC 7541, 4.3)."""
        count = 0
        while self._occupied > most and count < len(self.table):
            name, value = self.table[count]
            self._occupied -= len(name) + len(value) + OVERHEAD
            count += 1
        del self.table[:count]


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Return (the number at `at`, whose first byte has the bits of `mask` for it; the place after it) (RFC 7541, 5.1).
    Raises IndexError where the block ends before."""
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > _MOST_SHIFT:
            raise CompressionError("a number is beyond any size")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return (the string at `at`, the place after it) (RFC 7541, 5.2). Raises IndexError as _integer()."""
    is_coded = block[at] >= 0x80
    size, at = _integer(block, at, 0x7F)
    end = at + size
    if end > len(block):
        raise IndexError
    return (huffman.decode(block[at:end]) if is_coded else block[at:end]), end
