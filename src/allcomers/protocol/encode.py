"""Heads written: the status line or request line and the fields below it, from values to bytes (RFC 9112, 2 to 6).

An app's fields are checked as a peer's are: nothing that an app copies from a client can start a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

from allcomers.errors import AnswerError
from allcomers.protocol.head import LONGEST_KNOWN, TOKEN, remember
from allcomers.protocol.message import FileSlice, Piece

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

STATUS_LINES = {s.value: b"HTTP/1.1 %d %b\r\n" % (s, s.phrase.encode("ascii")) for s in HTTPStatus if s >= 200}

_OURS = frozenset(("connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"))
"""Fields that a response's framing and connection decide, and those that have a default where an app gives none."""

_UPGRADE = "upgrade"
"""A field that stays the app's, but has to be named in Connection, which is the server's."""

_NAME_OK = re.compile(TOKEN.decode("ascii") + "+")
_VALUE_OK = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_known: dict[tuple[str, str], bytes] = {}
known_blocks: dict[tuple[tuple[str, str], ...], bytes] = {}


class NamedStatus(int):
    """A status whose reason phrase is not the usual one; `line` is its whole line."""

    line: bytes


def named_status(status: int, reason: bytes) -> int:
    """Return `status` with a reason of its own; plain, where that is empty or the usual one."""
    line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    if not reason or line == STATUS_LINES.get(status):
        return status
    named = NamedStatus(status)
    named.line = line
    return named


def status_line(status: int) -> bytes:
    """Return b"HTTP/1.1 200 OK" with CRLF; a code without a usual reason or its own has an empty one (RFC 9112, 4)."""
    if isinstance(status, NamedStatus):
        return status.line
    line = STATUS_LINES.get(status) if isinstance(status, int) else None
    if line is None:
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise AnswerError(f"{status!r} is no status for a final response")
        line = b"HTTP/1.1 %d \r\n" % status
    return line


def encode_fields(headers: Iterable[tuple[str, str]]) -> tuple[bytes, dict[str, str] | None]:
    """Return an app's fields as bytes; and apart from them, by lower-case name, those that the server sets or needs.

    Raises AnswerError for a name that is no token and for a value with CR, LF, NUL or another control character:
    an app that copies input into a header must not let that input write headers of its own.
    """
    # PERF: apps repeat their fields; a look-up of all costs 0.1 µs, check and encode 1.4 each (bench/request/micro.py).
    pairs = tuple(headers)
    try:
        block = known_blocks.get(pairs)
    except TypeError:  # lists have no hash; anything else without one is no header
        return _encode_fields(pairs)
    if block is not None:
        return block, None
    block, ours = _encode_fields(pairs)
    if ours is None and len(block) <= LONGEST_KNOWN:
        remember(known_blocks, pairs, block)
    return block, ours


def _encode_fields(pairs: Iterable[tuple[str, str]]) -> tuple[bytes, dict[str, str] | None]:
    lines = []
    ours: dict[str, str] | None = None
    for pair in pairs:
        try:
            line = _known.get(pair)
        except TypeError:
            line = None
        if line is None:
            name, value = pair_of(pair)
            line = _encode_field(name, value)
            lower = name.lower()
            if lower in _OURS or lower == _UPGRADE:
                ours = ours or {}
                ours[lower] = value
                if lower != _UPGRADE:
                    continue
            elif len(line) <= LONGEST_KNOWN:
                remember(_known, (name, value), line)
        lines.append(line)
    return b"".join(lines), ours


def pair_of(pair: tuple[str, str]) -> tuple[str, str]:
    """Return the name and the value in an app's header. Raises AnswerError where there are not two."""
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise AnswerError(f"a header is a pair of str, not {pair!r:.80}") from None
    return name, value


def check_field(name: str, value: str) -> None:
    """Raise AnswerError for a field that no message can have."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise AnswerError(f"a header is a pair of str, not {name!r}: {value!r}")
    if _NAME_OK.fullmatch(name) is None:
        raise AnswerError(f"{name!r} is not a header name")
    if _VALUE_OK.fullmatch(value) is None:
        raise AnswerError(f"the value of header {name!r} has a character that no header can carry: {value!r}")


def _encode_field(name: str, value: str) -> bytes:
    check_field(name, value)
    return f"{name}: {value}\r\n".encode("latin-1")


def request_head(method: str, target: str, host: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return a request's head with its empty line: the client role. The caller gives the framing fields."""
    lines = b"".join(_encode_field(name, value) for name, value in headers)
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode("ascii") + lines + b"\r\n"


def chunk(piece: Piece) -> list[Piece]:
    """Return `piece` as one chunk; nothing for an empty piece, for an empty chunk would end the body."""
    size = len(piece)
    if not size:
        return []
    if isinstance(piece, FileSlice):
        return [b"%x\r\n" % size, piece, b"\r\n"]
    return [chunk_of(piece)]


def chunk_of(piece: bytes) -> bytes:
    """Return `piece` as one chunk; b"" for an empty piece."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """Return the end of a chunked body, with its trailers as encode_fields() has them."""
    return b"0\r\n%b\r\n" % trailers


def field_lines(server: bytes, fields: Iterable[Sequence[str]]) -> bytes:
    """Return the server's own lines: `server`, unless `fields` have another Server, and those fields.

    Raises AnswerError for one that cannot be sent.
    """
    lines = []
    for name, value in fields:
        if name.lower() == "server":
            server = _encode_field("Server", value)
        else:
            lines.append(_encode_field(name, value))
    return server + b"".join(lines)


def with_server(lines: bytes, own: bytes) -> bytes:
    """Return the server's own lines with the app's line of the Server field in the place of theirs."""
    return own + (lines.partition(b"\r\n")[2] if lines.startswith(b"Server: ") else lines)


SERVER: Final = b"Server: allcomers\r\n"
"""The Server field's line; b"" stands in its place where none is wanted (--no-server-header)."""
