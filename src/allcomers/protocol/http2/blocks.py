"""Header blocks on their way out: an app's fields checked as for HTTP/1, and encoded without a table.

They mean the same for every peer and wherever they stand, so that each is made once, and blocks are joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from allcomers.errors import AnswerError
from allcomers.protocol.encode import check_field, pair_of
from allcomers.protocol.head import LONGEST_KNOWN, remember
from allcomers.protocol.hpack.encoder import encode
from allcomers.protocol.http2.requests import HOP_BY_HOP

_OURS: Final = frozenset(("content-length", "date", "server"))
"""Fields that the server sets, unless an app gives them."""

_statuses: dict[int, bytes] = {}
_lengths: dict[int, bytes] = {}
_fields: dict[tuple[str, str], bytes] = {}
_known: dict[tuple[tuple[str, str], ...], bytes] = {}


def status_block(status: int) -> bytes:
    """Return the beginning of a response's block. Raises AnswerError for a number that is no status."""
    block = _statuses.get(status)
    if block is None:
        if not isinstance(status, int) or not 100 <= status <= 999 or status == 101:
            raise AnswerError(f"{status!r} is no status of HTTP/2")
        block = encode(b":status", b"%d" % status)
        remember(_statuses, status, block)
    return block


def length_block(size: int) -> bytes:
    """Return the block of Content-Length."""
    block = _lengths.get(size)
    if block is None:
        block = encode(b"content-length", b"%d" % size)
        remember(_lengths, size, block)
    return block


def field_block(name: str, value: str) -> bytes:
    """Return the block of one field; b"" for one of HTTP/1 alone. Raises AnswerError for one that none can be."""
    block = _fields.get((name, value))
    if block is None:
        check_field(name, value)
        lower = name.lower().encode("ascii")
        block = b"" if lower in HOP_BY_HOP else encode(lower, value.strip(" \t").encode("latin-1"))
        if len(block) <= LONGEST_KNOWN:
            remember(_fields, (name, value), block)
    return block


def fields_block(pairs: Iterable[tuple[str, str]]) -> tuple[bytes, dict[str, str] | None]:
    """Return the block of an app's fields, and apart from it, by lower-case name, those that the server sets or needs.
    Raises AnswerError as encode.encode_fields."""
    key = tuple(pairs)
    try:
        block = _known.get(key)
    except TypeError:  # lists have no hash
        key = tuple([pair_of(pair) for pair in key])
        block = _known.get(key)
    if block is not None:
        return block, None
    ours: dict[str, str] | None = None
    parts = []
    for pair in key:
        name, value = pair_of(pair)
        part = field_block(name, value)
        if name.lower() in _OURS:
            ours = ours or {}
            ours[name.lower()] = value
        else:
            parts.append(part)
    block = b"".join(parts)
    if ours is None and len(block) <= LONGEST_KNOWN:
        remember(_known, key, block)
    return block, ours


def request_block(
    method: str, scheme: str, authority: str, path: str, pairs: Iterable[tuple[str, str]] = (), *, protocol: str = ""
) -> bytes:  # fmt: skip
    """Return the block of a request: the client role. Raises AnswerError for a field that none can be."""
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    if protocol:
        pseudo.append((":protocol", protocol))
    parts = [encode(name.encode("ascii"), value.encode("ascii")) for name, value in pseudo]
    return b"".join([*parts, *(field_block(name, value) for name, value in pairs)])
