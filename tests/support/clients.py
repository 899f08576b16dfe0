"""Clients that know exactly what they got: a socket whose ends can be told apart, and an HTTP/1.1 client on it.

It shares no line with the server's own parser: what both got wrong alike would not be found. It takes nothing that is
not exactly as RFC 9112 has it.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Self

from support.wires import TIMEOUT as TIMEOUT
from support.wires import Address, Cut, Ended, Lost, Wire, wire

# ---------------------------------------------------------------- HTTP


def request(
    method: str = "GET",
    target: str = "/hello",
    *fields: str,
    body: bytes | None = None,
    version: str = "1.1",
    host: str | None = "localhost",
) -> bytes:
    """The bytes of a request. `fields` as "Name: value"; a `body` brings its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += fields
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int, *trailers: str) -> bytes:
    """`body` in chunks of `size` bytes, with trailers behind."""
    parts = []
    for begin in range(0, len(body), size):
        piece = body[begin : begin + size]
        parts += [b"%x\r\n" % len(piece), piece, b"\r\n"]
    parts += [b"0\r\n", *(trailer.encode("latin-1") + b"\r\n" for trailer in trailers), b"\r\n"]
    return b"".join(parts)


@dataclass
class Answer:
    """chunks: the sizes of a chunked body's chunks; None of another's."""

    status: int
    minor: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[int] | None = None

    def __getitem__(self, name: str) -> str | None:
        """The value of the one field called `name`, None where there is none."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def persists(self) -> bool:
        """May the client ask again on this connection?"""
        options = (self["Connection"] or "").lower()
        return "close" not in options and (self.minor == 1 or "keep-alive" in options)


_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([ -~]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([!-~](?:[ -~]*[!-~])?)?")
_SIZE_LINE = re.compile(rb"[0-9a-f]+")


class Client:
    """An HTTP client: it says what it is told to say, and hears answers one by one."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._buffer = bytearray()
        self._heard = 0  # of this answer

    def send(self, data: bytes) -> None:
        self.wire.send(data)

    def ask(self, data: bytes | None = None) -> Answer:
        """Send one request, hear its answer."""
        data = data or request()
        self.send(data)
        return self.answer("HEAD" if data.startswith(b"HEAD ") else "GET")

    def answer(self, method: str = "GET") -> Answer:
        """The next answer to a `method` request. Raises Lost."""
        self._heard = len(self._buffer)
        head = self.head()
        if method == "HEAD" or head.status in (204, 304) or head.status < 200:
            assert head.status >= 200 or head["Content-Length"] is None
            return head
        coding, length = head["Transfer-Encoding"], head["Content-Length"]
        assert coding is None or length is None, "both framings at once"
        if coding is not None:
            assert (coding, head.minor) == ("chunked", 1)
            self._chunks(head)
        elif length is not None:
            assert length.isdigit()
            head.body = self.take(int(length))
        else:
            assert not head.persists, "an answer without a length on a connection that stays open"
            head.body = self.rest()
        return head

    def head(self) -> Answer:
        lines = self._lines()
        status = _STATUS_LINE.fullmatch(lines[0])
        assert status, lines[0]
        head = Answer(int(status[2]), 1, _fields(lines[1:]))
        assert status[1] == b"1", "a server of HTTP/1.1 says so (RFC 9110, 2.5)"
        if head.status >= 200:
            assert head["Date"]
            assert head["Server"]
        return head

    def body(self, head: Answer) -> bytes:
        """What head() left of a body in chunks, from the beginning of one."""
        self._chunks(head)
        return head.body

    def rest(self) -> bytes:
        """Everything to the clean end. Raises Cut."""
        while self._more():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def ends(self) -> None:
        """There is nothing more to come, and the end is clean."""
        assert self.rest() == b""

    def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._need()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def unread(self, data: bytes) -> None:
        """Hear `data` next: somebody has read it past us."""
        self._buffer[:0] = data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def _need(self) -> None:
        if not self._more():
            raise self._lost(Ended("the connection ended too early"))

    def _more(self) -> bool:
        try:
            data = self.wire.receive()
        except Cut as cut:
            raise self._lost(cut) from None
        self._buffer += data
        self._heard += len(data)
        return bool(data)

    def _lost(self, error: Lost) -> Lost:
        error.after = self._heard
        return error

    def _line(self) -> bytes:
        begin = 0
        while (end := self._buffer.find(b"\r\n", max(0, begin - 1))) < 0:
            begin = len(self._buffer)
            self._need()
        return self.take(end + 2)[:-2]

    def _lines(self) -> list[bytes]:
        """Up to an empty line."""
        lines = [self._line()]
        while lines[-1]:
            lines.append(self._line())
        return lines[:-1]

    def _chunks(self, answer: Answer) -> None:
        answer.chunks = []
        parts = []
        while True:
            line = self._line()
            assert _SIZE_LINE.fullmatch(line), line
            size = int(line, 16)
            if not size:
                break
            answer.chunks.append(size)
            parts.append(self.take(size))
            assert self.take(2) == b"\r\n"
        answer.body = b"".join(parts)
        answer.trailers = _fields(self._lines())


def _fields(lines: list[bytes]) -> list[tuple[str, str]]:
    found = [_FIELD_LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [(match[1].decode(), (match[2] or b"").decode()) for match in found if match]


class Regular:
    """A client that comes back: it keeps its connection, and connects anew where the server ends it.

    Where it was told `Connection: close`, or found the connection closed when it asked again (RFC 9112, 9.3.1: a
    request that is idempotent may be sent again then). A connection that never answered is no excuse.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._client: Client | None = None
        self._answers = 0  # on this connection
        self.connections = 0

    def connect(self) -> Client:
        if self._client is None:
            self._client = Client(wire(self._address, self._tls))
            self._answers = 0
            self.connections += 1
        return self._client

    def ask(self, data: bytes | None = None) -> Answer:
        try:
            answer = self.connect().ask(data)
        except Lost as lost:
            if not self._answers or lost.after:
                raise
            self.close()
            return self.ask(data)
        self._answers += 1
        if not answer.persists:
            self.connect().ends()
            self.close()
        return answer

    def close(self) -> None:
        if self._client is not None:
            self._client.wire.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
