"""The heads of responses, as header blocks (RFC 9113, 8.3.2; RFC 7541)."""

from __future__ import annotations

from typing import Final

from allcomers.connection.http.response_body import ENDLESS
from allcomers.errors import AnswerError
from allcomers.protocol.head import BARE, LONGEST_KNOWN, remember
from allcomers.protocol.http2 import blocks
from allcomers.protocol.message import Response

_known_lines: dict[bytes, bytes] = {}
_known_heads: dict[tuple[object, ...], tuple[bytes, int]] = {}

_NONE: Final = b""


def head(method: str, response: Response, size: int | None, date: bytes, server: bytes) -> tuple[bytes, int]:
    """Return the block of `response`, and the most bytes of its body.

    method        the request's
    size          bytes of the body; None where nobody knows
    date, server  the server's own lines, as HTTP/1 sends them

    Raises AnswerError.

    PERF: a head is made once a second for all responses that are alike.
    """
    status = response.status
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise AnswerError(f"{status!r} is no status for a final response")
    key = status, size, date, server, tuple(response.headers)
    try:
        found = _known_heads.get(key)
    except TypeError:  # lists have no hash: such a head is rare, and made each time
        found = _made(*key)
    if found is None:
        found = _made(*key)
        if len(found[0]) <= LONGEST_KNOWN:
            remember(_known_heads, key, found)
    block, most = found
    return block, 0 if method == "HEAD" else most


def _made(
    status: int, size: int | None, date: bytes, server: bytes, pairs: tuple[tuple[str, str], ...]
) -> tuple[bytes, int]:
    """Make the block of a response, and return it with the most bytes of its body. Raises AnswerError."""
    fields, ours = blocks.fields_block(pairs)
    own = {date: lines(date), server: lines(server)}
    if ours is not None:
        if "content-length" in ours:
            size = _declared(ours["content-length"])
        for name, line in (("date", date), ("server", server)):
            if name in ours:
                own[line] = _without(name, line) + blocks.field_block(name, ours[name])
    most, length = ENDLESS, _NONE
    if status in BARE:
        most = 0
        length = blocks.length_block(0) if status == 205 else _NONE
    elif size is not None:
        most, length = size, blocks.length_block(size)
    block = b"".join((blocks.status_block(status), fields, own[date], own[server], length))
    return block, most


def lines(block: bytes) -> bytes:
    """Return the server's own lines as fields."""
    found = _known_lines.get(block)
    if found is None:
        found = b"".join(_fields(block))
        remember(_known_lines, block, found)
    return found


def _fields(block: bytes, but: str = "") -> list[bytes]:
    fields = [line.partition(":") for line in block.decode("latin-1").split("\r\n") if line]
    return [blocks.field_block(name, value.strip(" \t")) for name, _, value in fields if name.lower() != but]


def _without(name: str, block: bytes) -> bytes:
    return b"".join(_fields(block, name))


def _declared(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise AnswerError(f"Content-Length is not a number: {value!r}")
    return int(value)
