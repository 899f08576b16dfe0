"""Header blocks encoded by the static table alone (RFC 7541).

They add nothing to the peer's dynamic table, so they mean the same wherever they go: a block is made once for all
peers, and blocks of single fields may be joined.
"""

from __future__ import annotations

from typing import Final

from allcomers.protocol.hpack.static_table import STATIC

_INDICES: Final = {field: index for index, field in enumerate(STATIC, 1)}
_NAMES: Final = {name: index for index, (name, _) in reversed(list(enumerate(STATIC, 1)))}


def encode(name: bytes, value: bytes) -> bytes:
    """Return a field as a block: by its index in the static table, or as a literal that no table takes."""
    index = _INDICES.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    index = _NAMES.get(name)
    if index is not None:
        return _number(index, 0x0F) + _number(len(value), 0x7F) + value
    return b"\0" + _number(len(name), 0x7F) + name + _number(len(value), 0x7F) + value


def _number(number: int, mask: int) -> bytes:
    """Return a number whose first byte has the bits of `mask` for it (RFC 7541, 5.1)."""
    if number < mask:
        return bytes((number,))
    number -= mask
    encoded = bytearray((mask,))
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


NO_TABLE: Final = b"\x20"
"""The beginning of a block after which its encoder has no dynamic table (RFC 7541, 6.3)."""
