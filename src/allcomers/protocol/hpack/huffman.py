"""The Huffman code of header strings (RFC 7541, 5.2 and Appendix B).

The code is canonical: among codes of one length the greater symbol has the greater code, and behind these come longer
ones. So the lengths say all of Appendix B.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from allcomers.errors import CompressionError
from allcomers.protocol import compiled

_LENGTHS: Final = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJB"
    "KABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRS"
    "VVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Bits of the codes of the symbols 0 to 256, as letters: A for 5, Z for 30."""

_SHORTEST: Final = 5
_LONGEST: Final = 30
_EOS: Final = 256


def _ranges() -> tuple[list[int], list[tuple[int, int, int, list[int]]]]:
    """Return the first codes of each length, with zeros behind them to 30 bits; and for each (that number, the length,
    bits behind it, the symbols in the order of their codes)."""
    firsts, ranges = [], []
    first = 0
    for length in range(_SHORTEST, _LONGEST + 1):
        symbols = [symbol for symbol, letter in enumerate(_LENGTHS) if ord(letter) - ord("A") + _SHORTEST == length]
        if symbols:
            firsts.append(first)
            ranges.append((first, length, _LONGEST - length, symbols))
            first += len(symbols) << _LONGEST - length
    return firsts, ranges


_FIRSTS, _RANGES = _ranges()
if TYPE_CHECKING or compiled.COMPILED:
    from allcomers.protocol.hpack import _huffman as leaf

    leaf.set_up(_RANGES)


def decode(data: bytes) -> bytes:
    """Return the string that `data` encodes. Raises CompressionError: it has EOS, or its end is padded by other
    bits than the first of EOS, less than eight (RFC 7541, 5.2)."""
    if compiled.COMPILED and (string := leaf.decode(data)) is not None:
        return string
    decoded = bytearray()
    held = bits = 0  # the last bits, of which no symbol was made
    for byte in data:
        held = held << 8 | byte
        bits += 8
        while bits >= _SHORTEST:
            window = held << _LONGEST - bits if bits <= _LONGEST else held >> bits - _LONGEST
            first, length, behind, symbols = _RANGES[bisect_right(_FIRSTS, window) - 1]
            if length > bits:
                break
            symbol = symbols[window - first >> behind]
            if symbol == _EOS:
                raise CompressionError("a string has the symbol EOS")
            decoded.append(symbol)
            bits -= length
            held &= (1 << bits) - 1
    if bits > 7 or held != (1 << bits) - 1:
        raise CompressionError("a string ends with a padding that is not EOS")
    return bytes(decoded)
