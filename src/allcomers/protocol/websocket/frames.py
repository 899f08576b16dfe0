"""Extensions of the sans-IO layer of `websockets`: frames to messages, and their compression.

The library reads frames, and knows their order and the closing handshake. Assembly and Inflate are extensions to it,
which get each frame before the next one is parsed. Frames of the common shape are read in C where that is compiled
(_frames.pyx). An import of this file imports the library, in 30 ms (python -m bench websocket): a server without
WebSockets does not.
"""

from __future__ import annotations

import codecs
import io
import logging
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from websockets.exceptions import NegotiationError, ProtocolError, WebSocketException
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side, State
from websockets.streams import StreamReader

from allcomers.protocol import compiled
from allcomers.protocol.websocket.handshake import Offer

if TYPE_CHECKING or compiled.COMPILED:
    from allcomers.protocol.websocket import _frames as leaf

FRAGMENTS: Final = 128 * 1024
"""Frames that one message may have; more is 1008. Precedent: ws had as many, and found that 16,384 are too few.

They cost no memory, for their data is joined at once. The limit ends a message of empty ones.
"""

DEFLATE_FROM: Final = 512
"""Bytes from which on a message is compressed: shorter ones fit a packet anyway. Precedent: coder/websocket."""

CONTROL_SIZE: Final = 125
"""The most bytes of a control frame (RFC 6455, 5.5)."""

KEPT: Final = 64 * 1024
"""The most bytes of a frame that is kept for the next client. Precedent: the high-water mark of what is unsent."""

CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode

RSV1: Final = 0x40
"""The bit of a frame whose message is compressed (RFC 7692, 6)."""

NO_CODE: Final = 1005
"""The code of a Close frame that has none (RFC 6455, 7.1.5)."""

_NORMAL: Final = 1000
_TOO_MANY: Final = 1008
_TOO_BIG: Final = 1009

_LEVEL: Final = 3
_MEMORY_LEVEL: Final = 5
_WINDOW_BITS: Final = 12
_WIDEST: Final = 4  # bytes of a character in UTF-8
_LEAST_BITS: Final = 9  # zlib does not compress with 8 (https://github.com/madler/zlib/issues/171)

_FACTORY: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

_logger: Final = logging.getLogger("allcomers.websocket")
_logger.setLevel(logging.WARNING)  # the library logs the end of each connection, and every frame for debugging


_AT_EOF: Final = StreamReader.at_eof.__code__
"""The library waits in it for the first byte of a frame, and for all others elsewhere."""


class Windows(NamedTuple):
    """The bits of the windows that compress what the client sends, and what it receives."""

    remote: int
    local: int


def agree(offer: Offer) -> tuple[Windows | None, str]:
    """Return the first acceptable offer of permessage-deflate, and the header value for it; (None, "") if none.

    `offer.extensions` are well-formed.
    """
    for value in offer.extensions:
        for name, parameters in parse_extension(value):
            if name == _FACTORY.name:
                try:
                    accepted, agreed = _FACTORY.process_request_params(parameters, [])
                except NegotiationError:  # there may be another offer
                    continue
                if agreed.local_max_window_bits >= _LEAST_BITS:  # library versions up to 16 accept fewer
                    windows = Windows(agreed.remote_max_window_bits, min(_WINDOW_BITS, agreed.local_max_window_bits))
                    return windows, build_extension([(name, accepted)])
    return None, ""


class Frames(Protocol):
    """The library's part: frames, their order, the replies to them; with the messages in `assembly`."""

    def __init__(self, max_size: int, windows: Windows | None) -> None:
        # Room for a control frame: the library counts one within a message as part of that message.
        super().__init__(Side.SERVER, max_size=max_size + CONTROL_SIZE, logger=_logger)
        self.assembly = Assembly(self, max_size)
        self.extensions = [self.assembly] if windows is None else [self.assembly, Inflate(windows)]
        self._limit = max_size

    def fail(self, code: int, reason: str = "") -> None:
        close = self.close_rcvd
        if close is not None and self.state is State.OPEN:
            # The client closes within a message. The library rejects that; RFC 6455, 5.4 allows it.
            code, reason = close.code if close.code != NO_CODE else _NORMAL, close.reason
        elif code == _TOO_BIG:
            reason = f"a message is larger than {self._limit} bytes"
        super().fail(code, reason)

    @property
    def under_way(self) -> int:
        """The bytes of a message that has begun: its frames, inflated, and the beginning of the next one."""
        return self.assembly.size + len(self.reader.buffer)

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame, and a message or a control frame between two."""
        waits_in = getattr(self.parser, "gi_yieldfrom", None)
        is_at_frame = waits_in is not None and waits_in.gi_code is _AT_EOF
        return is_at_frame and not self.assembly.has_begun and self.state is State.OPEN

    def forget(self) -> None:
        """Free the memory for incoming frames, of which none will come. These objects refer to each other."""
        self.assembly.clear()
        self.assembly.messages = []
        self.extensions = []
        self.reader.buffer.clear()
        self.parser_exc = None  # what ended them: its traceback refers to the connection, and that to this


class Assembly(Extension):
    """Joins frames to messages, as one of the library's extensions: so it gets each before the next.

    Fragments are decoded and joined as they come. A list of them would cost a multiple of the message.

    messages  the whole ones, each until the library yields its last frame
    size      bytes of the message that has begun, inflated
    discards  messages are dropped
    """

    name = "allcomers-assembly"  # type: ignore[assignment]

    def __init__(self, protocol: Protocol, max_size: int) -> None:
        self.messages: list[str | bytes] = []
        self.discards = False
        self._protocol = protocol
        self._max_size = max_size
        self.clear()

    def clear(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._text: io.StringIO | None = None
        self._data: io.BytesIO | None = None
        self.size = 0
        self._frames = 0

    @property
    def has_begun(self) -> bool:
        """Whether a message has begun."""
        return self._frames > 0

    def encode(self, frame: Frame) -> Frame:
        return frame

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Add a received frame. Raises UnicodeDecodeError, ProtocolError.

        The library checks afterwards that it was allowed at this point.
        """
        opcode = frame.opcode
        if opcode >= CLOSE:
            return frame
        if opcode is CONT or not frame.fin:
            self._add(frame)
        elif len(frame.data) > self._max_size:
            self._refuse(_TOO_BIG)
        else:
            self.messages.append(_message(frame))
        return frame

    def _refuse(self, code: int, reason: str = "") -> None:
        self._protocol.fail(code, reason)
        raise ProtocolError(reason)  # the code is sent already: this ends the frames

    def _add(self, frame: Frame) -> None:
        """Add a fragment of a message."""
        if frame.opcode is TEXT:
            self._decoder = codecs.getincrementaldecoder("utf-8")()
            self._text = io.StringIO(newline="")
        elif frame.opcode is not CONT:
            self._data = io.BytesIO()
        self._count(len(frame.data))
        if self._text is not None and self._decoder is not None:
            piece = self._decoder.decode(bytes(frame.data), frame.fin)
            if not self.discards:
                self._text.write(piece)
        elif self._data is not None and not self.discards:
            self._data.write(frame.data)
        if frame.fin:
            whole = self._text or self._data
            self.messages.append(b"" if whole is None else whole.getvalue())
            self.clear()

    def _count(self, size: int) -> None:
        self._frames += 1
        self.size += size
        if self.size > self._max_size:
            self._refuse(_TOO_BIG)
        if self._frames > FRAGMENTS:
            self._refuse(_TOO_MANY, f"a message has more than {FRAGMENTS} fragments")


class Inflate(PerMessageDeflate):
    """permessage-deflate with nothing kept between two messages, in either direction (RFC 7692, 7.1.1)."""

    def __init__(self, windows: Windows) -> None:
        super().__init__(True, True, windows.remote, windows.local)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.rsv1 and frame.opcode is CONT:  # library versions 14 to 16 accept it
            raise ProtocolError("RSV1 bit set in continuation frame")
        return super().decode(frame, max_size=max_size)

    def encode(self, frame: Frame) -> Frame:
        """Return a control frame as it is: the library sends no other here."""
        return frame


def _message(frame: Frame) -> str | bytes:
    return str(frame.data, "utf-8") if frame.opcode is TEXT else bytes(frame.data)


# ---------------------------------------------------------------- whole messages


def message_of(data: bytes, max_size: int) -> str | bytes | None:
    """Return the message of `data` that is one common frame and no more; None for any other: that is for read_common().

    PERF: so most messages are read in one call (python -m bench instructions --kinds websocket)."""
    return leaf.message(data, max_size) if compiled.COMPILED else None


def read_common(data: bytes, at: int, max_size: int, windows: Windows | None) -> tuple[int, str | bytes, int] | None:
    """Return (opcode, message, end) of the frame that begins at `at`, if it is of the common shape (_frames.pyx).

    None leaves it to the library, which finds out what is wrong with it."""
    found = leaf.read(data, at, max_size, windows is not None)
    if found is None or windows is None or not found[0] & RSV1:
        return found
    kind, packed, end = found
    assert isinstance(packed, bytes)
    frame = Frame(Opcode(kind & ~RSV1), packed, rsv1=True)
    try:
        return kind & ~RSV1, _message(Inflate(windows).decode(frame, max_size=max_size)), end
    except (WebSocketException, UnicodeDecodeError):
        return None


_last: tuple[str | bytes, int, bytes] = "", 0, b"\x81\x00"
"""The message that was framed last, its window, its frame."""


def framed(message: str | bytes, windows: Windows | None) -> bytes:
    """Return a message in one frame, compressed where that gains. Raises UnicodeEncodeError.

    One that is sent to many clients is framed, and compressed, once: the same object is the same frame.
    """
    global _last
    bits = 0 if windows is None else windows.local
    last = _last
    if last[0] is message and last[1] == bits:
        return last[2]
    opcode = TEXT if isinstance(message, str) else BINARY
    if bits and len(message) >= DEFLATE_FROM // _WIDEST:
        data = message.encode() if isinstance(message, str) else message
        packed = _deflated(data, bits)
        frame = frame_of(opcode, data) if packed is None else frame_of(opcode, packed, RSV1)
    else:
        frame = frame_of(opcode, message)
    if len(frame) <= KEPT:
        _last = message, bits, frame
    return frame


def frame_of(opcode: Opcode, payload: str | bytes, reserved: int = 0) -> bytes:
    """Return a server's frame. Raises UnicodeEncodeError."""
    if compiled.COMPILED:
        return leaf.frame(opcode | reserved, payload)
    data = payload.encode() if isinstance(payload, str) else payload
    frame = Frame(opcode, data).serialize(mask=False)
    return bytes([frame[0] | reserved]) + frame[1:] if reserved else frame


def _deflated(data: bytes, bits: int) -> bytes | None:
    """Return a message compressed; None for one that is short or would not shrink: RFC 7692, 6 leaves the choice to
    us."""
    if len(data) < DEFLATE_FROM:
        return None
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, _MEMORY_LEVEL)
    packed = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return packed[:-4] if len(packed) - 4 < len(data) else None  # RFC 7692, 7.2.1: without the empty block's end
