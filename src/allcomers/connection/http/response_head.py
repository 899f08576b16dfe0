"""The heads of responses: how each body is framed, and whether the connection stays open (RFC 9112, 6.3 and 9.3).

This file knows one response at a time; when it is due and what comes after it, the connection knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, TypeAlias

from allcomers.connection.http.response_body import ENDLESS
from allcomers.errors import AnswerError, Refusal
from allcomers.protocol import compiled
from allcomers.protocol.encode import STATUS_LINES, encode_fields, known_blocks, status_line, with_server
from allcomers.protocol.head import BARE
from allcomers.protocol.http1 import CRLF
from allcomers.protocol.message import Response
from allcomers.system.memory.ledger import RETRY_AFTER

_CLOSE: Final = b"Connection: close\r\n"
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"

Plan: TypeAlias = tuple[bytes, int, bool, bool]
"""How a response goes out: (head, most bytes of its body, whether it goes in chunks, whether the connection stays open
after it)."""


def plan(
    request_line: tuple[str, str, str], response: Response, size: int | None, persists: bool, date: bytes, server: bytes
) -> Plan:
    """Return how `response` goes out.

    request_line  the request's method, target and version
    size          bytes of the body; None where nobody knows
    persists      whether request and server let the connection stay open
    date, server  the server's own lines, with their CRLF: for where the app gives no such field

    Raises AnswerError.
    """
    if compiled.COMPILED and size is not None:
        found = compiled.plan(request_line, response, size, persists, date, server, known_blocks, STATUS_LINES)
        if found is not None:
            return found
    method, _, version = request_line
    upgrades = False
    fields, ours = encode_fields(response.headers)
    if ours is not None:
        if "content-length" in ours:
            size = _declared(ours["content-length"])
        persists = persists and "close" not in ours.get("connection", "").lower()
        upgrades = "upgrade" in ours
        date = _own("Date", ours) or date
        if "server" in ours:
            server = with_server(server, _own("Server", ours))
    status = response.status
    chunked = False
    if status in BARE:
        most = 0
        framing = b"Content-Length: 0\r\n" if status == 205 else b""
    elif size is not None:
        framing, most = b"Content-Length: %d\r\n" % size, size
    else:
        most = ENDLESS
        chunked = version == "1.1"
        persists = persists and chunked
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    if method == "HEAD":
        most, chunked = 0, False
    connection = _CONNECTION[upgrades, persists, version == "1.0"]
    line = (STATUS_LINES.get(status) if type(status) is int else None) or status_line(status)
    block = b"".join((line, fields, date, server, framing, connection, CRLF))
    return block, most, chunked, persists


def _connection(upgrades: bool, persists: bool, is_old: bool) -> bytes:
    """Return the Connection field, with its CRLF (RFC 9112, 9.3), which names an Upgrade field (RFC 9110, 7.8)."""
    options = [b"Upgrade"] if upgrades else []
    options += ([b"keep-alive"] if is_old else []) if persists else [b"close"]
    return b"Connection: %b\r\n" % b", ".join(options) if options else b""


_CONNECTION: Final = {key: _connection(*key) for key in product((False, True), repeat=3)}
"""PERF: by (upgrades, persists, is_old), so that a response costs no further call."""


def _declared(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise AnswerError(f"Content-Length is not a number: {value!r}")
    return int(value)


def _own(name: str, ours: dict[str, str]) -> bytes:
    """Return the line of the app's own field of this name; b"" where it gave none."""
    value = ours.get(name.lower())
    return f"{name}: {value}\r\n".encode("latin-1") if value is not None else b""


def plain_response(
    status: int, text: str, headers: Iterable[tuple[str, str]] = (), *, close: bool = False
) -> Response:  # fmt: skip
    """Return a response in plain text, with a line end. `close`: the connection ends with it."""
    fields = [("Content-Type", "text/plain; charset=utf-8"), *headers]
    if close:
        fields.append(("Connection", "close"))
    return Response(f"{text}\n".encode("utf-8", "replace"), status=status, headers=fields)


def internal_error() -> Response:
    """Return the response for a client whose app has raised."""
    return plain_response(500, "Internal Server Error")


def hints(links: Iterable[bytes]) -> bytes:
    """Return the interim response 103 with these links (RFC 8297). Raises AnswerError."""
    fields, _ = encode_fields([("Link", link.decode("latin-1")) for link in links])
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % fields


def refused(refusal: Refusal, date: bytes, server: bytes, is_bare: bool) -> tuple[bytes, bytes]:
    """Return the head and the body of a refusal, after which the connection is closed; `is_bare` has no body (HEAD)."""
    body = refusal.reason.encode("ascii") + b".\n"
    retry = b"Retry-After: %d\r\n" % RETRY_AFTER if refusal.status == 503 else b""
    head = b"".join((status_line(refusal.status), _TEXT % len(body), retry, date, server, _CLOSE, CRLF))
    return head, b"" if is_bare else body


def busy(date: bytes, server: bytes) -> bytes:
    """Return the 503 for a client that no place is left for, to be sent as it is (RFC 9110, 15.6.4)."""
    body = b"There is no place free; try again in a moment.\n"
    fields = _TEXT % len(body) + b"Retry-After: 1\r\n"
    return b"".join((status_line(503), fields, date, server, _CLOSE, CRLF, body))
