"""HTTP/1.1 framing: the start and the end of each head and body in a stream of bytes (RFC 9112).

`Requests` reads what a client sends, `Responses` what a server sends (the load generator's role); `chunk` and
`last_chunk` write. A refusal is the same whether its bytes come at once or one by one, every limit is a number, and
the time spent is linear in the bytes.
"""

from __future__ import annotations

import re
from typing import Final

from allcomers.config.limits import Limits
from allcomers.errors import Refusal
from allcomers.protocol import compiled
from allcomers.protocol import head as heads
from allcomers.protocol.head import Fields, RequestHead, ResponseHead
from allcomers.protocol.message import Request

CRLF: Final = b"\r\n"

_NONE: Final[Fields] = []  # trailers of all messages that have none

_STRAY = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n")
"""A CR without its LF, or a LF without its CR. A CR at the very end may still get its LF."""

_TOKEN_BYTE = re.compile(heads.TOKEN)

MAX_EXTENSIONS = 16 * 1024
"""Bytes of chunk extensions that a body may carry in all: only attackers send any. Node.js has the same limit."""

MOST_EMPTY_LINES = 16
"""Empty lines that may precede a message: RFC 9112, 2.2 asks for one, which old clients send after a body."""

_EXTENSION = rb"[ \t]*+;[ \t]*+%b++(?:[ \t]*+=[ \t]*+(?:%b++|%b))?+" % (heads.TOKEN, heads.TOKEN, heads.QUOTED)
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)((?:%b)*+)\r\n" % _EXTENSION)  # RFC 9112, 7.1.1
_PARTIAL_SIZE = re.compile(rb"(?:[0-9A-Fa-f]{1,16}+([ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?+)\r?+)?+")
"""A size line that is not whole: of its extensions only the bytes are checked, and the grammar when it is."""


class Inbound:
    """The messages of one direction of one connection, cut out of the bytes as they come.

    feed(data); head() until it gives one; body() until `complete`; head() again. It holds the bytes fed and not yet
    consumed, and nothing else.
    """

    __slots__ = ("_body", "_empty_lines", "_limits", "_scanned", "buffer", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.trailers = _NONE
        """The fields that came after the last body, where it was chunked."""
        self.buffer = b""
        """The bytes fed and not yet consumed."""
        self._scanned = 0  # bytes of a partial head that were checked already
        self._empty_lines = 0  # skipped since the last message
        self._body: FixedBody | ChunkedBody | EndlessBody | None = None

    @property
    def begun(self) -> bool:
        """Whether a message has started. A CR alone may belong to an empty line."""
        return self.buffer != b"" and self.buffer != b"\r"

    @property
    def complete(self) -> bool:
        """Whether the body of the last head has come whole."""
        return self._body is None

    def restart(self) -> None:
        """Note that messages were taken by another, who left nothing here."""
        self._empty_lines = 0

    def feed(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data

    def body(self) -> bytes:
        """Return the bytes of the body since the last call, maybe b"". Raises Refusal: 400, 413, 431."""
        body = self._body
        if body is None:
            return b""
        piece, self.buffer = body.consume(self.buffer)
        if body.done:
            self.trailers = body.trailers
            self._body = None
        return piece

    def end(self) -> None:
        """Note that the peer has closed. Raises Refusal (400) where that cuts a message short."""
        if isinstance(self._body, EndlessBody):
            self._body = None
        elif self._body is not None or self.buffer:
            raise Refusal(400, "the connection ended in the middle of a message")

    def _block(self) -> bytes | None:
        """Return the next head's lines without the empty one; None until they are all here. Raises Refusal."""
        buffer = self.buffer
        if not buffer:
            return None
        if buffer[0] == 13:  # CR
            buffer = self._skip_empty_lines()
        begin = self._scanned - 3 if self._scanned > 3 else 0
        end = buffer.find(b"\r\n\r\n", begin, self._limits.max_head)
        if end < 0:
            if buffer:
                self._check_partial(buffer)
            return None
        return buffer[: end + 2]

    def _take(self, size: int) -> None:
        """Take a head of `size` bytes off the buffer: not refused, or else it stays there."""
        self._scanned = self._empty_lines = 0
        self.buffer = self.buffer[size:]

    def _skip_empty_lines(self) -> bytes:
        """Skip empty lines before the first line. Raises Refusal: there are more than MOST_EMPTY_LINES."""
        buffer = self.buffer
        begin = 0
        while buffer.startswith(CRLF, begin):
            begin += 2
            self._empty_lines += 1
            if self._empty_lines > MOST_EMPTY_LINES:
                raise Refusal(400, f"more than {MOST_EMPTY_LINES} empty lines before a message")
        self.buffer = buffer[begin:]
        return self.buffer

    def _check_partial(self, buffer: bytes) -> None:
        """Refuse bytes that can never become a head, without a wait for the rest of it."""
        if buffer == b"\r":
            return
        line_end = self._check_lines(buffer[: self._limits.max_head], max(0, self._scanned - 1))
        if len(buffer) >= self._limits.max_head:
            if line_end < 0:
                raise Refusal(414, f"the first line is longer than {self._limits.max_head} bytes")
            raise Refusal(431, f"the head is larger than {self._limits.max_head} bytes")
        self._scanned = len(buffer)

    def _check_lines(self, block: bytes, begin: int = 0) -> int:
        """Run the checks that need no whole head, in the order of the bytes; `begin` are checked already.

        So the first fault is the same however the bytes came. Return the end of the first line, -1 if it has none.
        """
        if _TOKEN_BYTE.match(block) is None:
            raise Refusal(400, "the first byte begins no HTTP message")
        self._check_first_word(block)
        line_end = block.find(CRLF)
        if line_end >= begin:
            _check_stray(block[: line_end + 2], begin)
            self._check_first_line(block[: line_end + 2])
        _check_stray(block, begin)
        return line_end

    def _check_first_word(self, block: bytes) -> None:
        """Refuse a first word that is too long, whole or not."""

    def _check_first_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _expect_body(self, head: RequestHead | ResponseHead) -> None:
        """Read the bytes that follow as the body of `head`."""
        if head.chunked:
            self._body = ChunkedBody(self._limits)
        elif head.length:
            if head.length > self._limits.max_body:
                raise Refusal(413, f"the body is larger than {self._limits.max_body} bytes")
            self._body = FixedBody(head.length)


class Requests(Inbound):
    """The requests that a client sends."""

    __slots__ = ()

    def head(self) -> Request | None:
        """Return the next request's head, once it is whole. Raises Refusal: 400, 413, 414, 417, 431, 501, 505."""
        head = Request.__new__(Request)
        size = self._read_common(head) if compiled.COMPILED else 0
        if not size:
            block = self._block()
            if block is None:
                return None
            try:
                heads.parse_request(block, self._limits.max_headers, head)
            except Refusal:
                self._check_lines(block)
                raise
            size = len(block) + 2
        self.trailers = _NONE
        if head.chunked or head.length:
            self._expect_body(head)
        self._take(size)
        return head

    def _read_common(self, head: Request) -> int:
        """Read a head that is whole, valid and common with the compiled leaf. Return its size; 0 for any other."""
        if self._scanned:
            return 0
        limits = self._limits
        return compiled.read_head(self.buffer, limits.max_head, limits.max_headers, head, heads.known_hosts)

    @property
    def is_head_request(self) -> bool:
        """Whether the request that has begun, or was refused, has the method HEAD: its response has no body."""
        return self.buffer.startswith(b"HEAD ")

    def _check_first_word(self, block: bytes) -> None:
        heads.check_method(block)

    def _check_first_line(self, line: bytes) -> None:
        heads.check_request_line(line)


SILENT: Final = Requests(Limits())
"""Shared by all clients that have sent nothing, or nothing but to the fast path: 80 bytes less for each."""


def fed(inbound: Requests, data: bytes, limits: Limits) -> Requests:
    """Feed `data` to `inbound` and return it; in place of SILENT, return one of the client's own."""
    if data:
        if inbound is SILENT:
            inbound = Requests(limits)
        inbound.feed(data)
    return inbound


class Responses(Inbound):
    """The responses that a server sends: the client's role."""

    __slots__ = ()

    def head(self, method: str) -> ResponseHead | None:
        """Return the head of the next response to a `method` request, once it is whole. Raises Refusal (400, 431, 502).

        An interim response (1xx) is a head like any other, with no body: call again for the final one.
        """
        block = self._block()
        if block is None:
            return None
        try:
            head = heads.parse_response(block, self._limits.max_headers)
        except Refusal:
            self._check_lines(block)
            raise
        self._take(len(block) + 2)
        self.trailers = []
        if method == "HEAD" or head.status < 200 or head.status in (204, 304):  # RFC 9112, 6.3, rule 1
            return head
        self._expect_body(head)
        if head.length is None and not head.chunked:  # rule 8
            self._body = EndlessBody()
            head.persists = False
        return head

    def _check_first_line(self, line: bytes) -> None:
        heads.check_status_line(line)


def _check_stray(block: bytes, begin: int = 0) -> None:
    """Refuse a bare CR or LF (RFC 9112, 2.2: for one recipient it ends a line, for another it does not)."""
    if _STRAY.search(block, begin) is not None:
        raise Refusal(400, "a line ends with a bare CR or LF")


# ---------------------------------------------------------------- bodies, on their way in


class FixedBody:
    """A body of as many bytes as Content-Length says (RFC 9112, 6.2)."""

    __slots__ = ("_left",)
    trailers: Fields = []  # noqa: RUF012 - none, ever

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def done(self) -> bool:
        return self._left == 0

    def consume(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (the body's part of `data`, the bytes that follow it)."""
        piece = data[: self._left]
        self._left -= len(piece)
        return piece, data[len(piece) :]


class EndlessBody:
    """A body that ends when its sender closes (RFC 9112, 6.3, rule 8): responses only."""

    __slots__ = ()
    trailers: Fields = []  # noqa: RUF012 - none, ever
    done = False

    def consume(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class ChunkedBody:
    """A body in chunks, and the fields after it (RFC 9112, 7.1).

    A partial size line or trailer goes from consume() back to the caller's buffer. It has less than MAX_EXTENSIONS or
    `max_head` bytes, or is refused.
    """

    __slots__ = (
        "_extensions",
        "_left",
        "_limits",
        "_size",
        "_step",
        "_trailer_lines",
        "_trailer_room",
        "done",
        "trailers",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._size = 0  # of all chunks announced so far
        self._left = 0  # of the current chunk
        self._extensions = 0
        self._trailer_lines = limits.max_headers  # that may still come
        self._trailer_room = limits.max_head  # bytes that they may have
        self._step = ChunkedBody._size_line  # no bound method: with it this would be a circle
        self.done = False
        self.trailers: Fields = []

    def consume(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (the chunks' content in `data`, the bytes not used). A step that lacks bytes keeps its place."""
        first, at = b"", 0
        if compiled.COMPILED and self._step is ChunkedBody._size_line:
            first, at = compiled.take_chunks(data, self._limits.max_body - self._size)
            self._size += len(first)
        pieces = [first]
        while not self.done:
            after = self._step(self, data, at, pieces)
            if after < 0:
                break
            at = after
        return b"".join(pieces), data[at:]

    def _size_line(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        line = _SIZE_LINE.match(data, at)
        if line is None:
            partial = _PARTIAL_SIZE.match(data, at)
            assert partial is not None  # it may be empty
            self._check_extensions(self._extensions + len(partial[1] or b""))
            if partial.end() < len(data):
                raise Refusal(400, "a chunk's size line is malformed")
            return -1
        self._extensions += len(line[2])
        self._check_extensions(self._extensions)
        self._left = int(line[1], 16)
        self._size += self._left
        if self._size > self._limits.max_body:
            raise Refusal(413, f"the body is larger than {self._limits.max_body} bytes")
        self._step = ChunkedBody._content if self._left else ChunkedBody._trailers
        return line.end()

    def _check_extensions(self, size: int) -> None:
        if size > MAX_EXTENSIONS:
            raise Refusal(400, f"chunk extensions of more than {MAX_EXTENSIONS} bytes")

    def _content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        if at == len(data):
            return -1
        piece = data[at : at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = ChunkedBody._content_end
        return at + len(piece)

    def _content_end(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        if data.startswith(CRLF, at):
            self._step = ChunkedBody._size_line
            return at + 2
        if data[at : at + 2] in (b"", b"\r"):
            return -1
        raise Refusal(400, "a chunk is not as long as its size line says")

    def _trailers(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read one trailer line, or the empty line that ends the body."""
        if data.startswith(CRLF, at):
            self.done = True
            return at + 2
        if data[at : at + 2] in (b"", b"\r"):
            return -1
        end = data.find(b"\n", at, at + self._trailer_room) + 1
        if not end:
            if len(data) - at >= self._trailer_room:
                raise Refusal(431, f"the trailers are larger than {self._limits.max_head} bytes")
            return -1
        if not self._trailer_lines:
            raise Refusal(431, f"more than {self._limits.max_headers} trailer lines")
        self._trailer_lines -= 1
        self._trailer_room -= end - at
        self.trailers += heads.parse_fields(b"\n" + data[at:end], 1, 1)[0]
        return end
