"""Clients that know exactly what they got: a socket whose ends can be told apart, and an HTTP/1.1 client on it.

It shares no line with the server's own parser: what both got wrong alike would not be found. It takes nothing that is
not exactly as RFC 9112 has it.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeAlias

TIMEOUT = 30.0
"""Seconds after which a client gives up: a test hangs no longer."""

Address: TypeAlias = tuple[str, int]


class Lost(Exception):
    """An answer did not come whole. `after`: bytes of it that had come."""

    after = 0


class Cut(Lost):
    """The connection ended, but not cleanly: a reset, or TLS without its close_notify."""


class Ended(Lost):
    """The connection ended, cleanly, where more was due."""


class Wire:
    """A TCP connection.

    receive_buffer  bytes that the kernel holds for us at most (SO_RCVBUF); 0 for its own measure
    """

    def __init__(self, address: Address, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer:  # before connect: the window is agreed on there
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """All of it. Raises Cut."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Cut(str(error)) from None

    def receive(self, most: int = 65536) -> bytes:
        """What has come, b"" at a clean end. Raises Cut."""
        try:
            return self.socket.recv(most)
        except ConnectionResetError as error:
            raise Cut(str(error)) from None

    def half_close(self) -> None:
        """Say that we say no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def widen(self) -> None:
        """After a small receive_buffer: let the rest come faster."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def reset(self) -> None:
        """Be gone without a word: the peer gets a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TlsWire(Wire):
    """The same over TLS. One thread may send while another receives. The handshake comes with the first of either."""

    def __init__(self, address: Address, context: ssl.SSLContext, *, receive_buffer: int = 0) -> None:
        super().__init__(address, receive_buffer=receive_buffer)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._lock = threading.Lock()  # for the engine
        self._order = threading.Lock()  # for what goes out
        self._shaking = threading.Lock()  # for the handshake
        self._ready = False

    def greet(self) -> None:
        """Shake hands."""
        if self._ready:
            return
        with self._shaking:
            while not self._ready:
                try:
                    self._engine.do_handshake()
                    self._flush()
                    self._ready = True  # only now: who sends from here on may wait long, and we would wait for it
                except ssl.SSLWantReadError:
                    self._flush()
                    self._feed()

    def hello(self) -> None:
        """Only the first flight of the handshake."""
        try:
            self._engine.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()

    def send(self, data: bytes) -> None:
        self.greet()
        view = memoryview(data)
        while view:
            with self._order:
                with self._lock:
                    self._engine.write(view[:65536])
                    sealed = self._outgoing.read()
                super().send(sealed)
            view = view[65536:]

    def receive(self, most: int = 65536) -> bytes:
        self.greet()
        while True:
            try:
                with self._lock:
                    return self._engine.read(most)
            except ssl.SSLWantReadError:
                self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                raise Cut("TLS without close_notify") from None

    def half_close(self) -> None:
        """RFC 8446, 6.1: a close_notify ends one direction. The TCP connection stays as it is."""
        self.greet()
        with self._lock:
            unread = self._incoming.read()  # unwrap() would look for an answer there
            with suppress(ssl.SSLWantReadError):
                self._engine.unwrap()
            self._incoming.write(unread)
        self._flush()

    def _flush(self) -> None:
        with self._order:
            with self._lock:
                sealed = self._outgoing.read()
            if sealed:
                super().send(sealed)

    def _feed(self) -> None:
        data = super().receive()
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()


def wire(address: Address, tls: ssl.SSLContext | None, *, receive_buffer: int = 0) -> Wire:
    if tls is None:
        return Wire(address, receive_buffer=receive_buffer)
    return TlsWire(address, tls, receive_buffer=receive_buffer)


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
