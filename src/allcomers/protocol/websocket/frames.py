"""Extensions of the sans-IO layer of `websockets`: frames to messages, and their compression.

The library reads and writes frames, and knows their order and the closing handshake. Assembly and Deflate are
extensions to it, which get each frame before the next one is parsed. An import of this file imports the library, in
30 ms (python -m bench websocket): a server without WebSockets does not.
"""

from __future__ import annotations

import codecs
import io
import logging
import zlib
from typing import Final

from websockets.exceptions import NegotiationError, ProtocolError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side, State

from allcomers.protocol.websocket.handshake import Offer

FRAGMENTS: Final = 128 * 1024
"""Frames that one message may have; more is 1008. Precedent: ws had as many, and found that 16,384 are too few.

They cost no memory, for their data is joined at once. The limit ends a message of empty ones.
"""

DEFLATE_FROM: Final = 512
"""Bytes from which on a message is compressed: shorter ones fit a packet anyway. Precedent: coder/websocket."""

CONTROL_SIZE: Final = 125
"""The most bytes of a control frame (RFC 6455, 5.5)."""

CONT, TEXT, CLOSE, PONG = Opcode.CONT, Opcode.TEXT, Opcode.CLOSE, Opcode.PONG

NO_CODE: Final = 1005
"""The code of a Close frame that has none (RFC 6455, 7.1.5)."""

_NORMAL: Final = 1000
_TOO_MANY: Final = 1008
_TOO_BIG: Final = 1009

_LEVEL: Final = 3
_MEMORY_LEVEL: Final = 5
_WINDOW_BITS: Final = 12
_LEAST_BITS: Final = 9  # zlib does not compress with 8 (https://github.com/madler/zlib/issues/171)

_FACTORY: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

_logger: Final = logging.getLogger("allcomers.websocket")
_logger.setLevel(logging.WARNING)  # the library logs the end of each connection, and every frame for debugging


def agree(offer: Offer) -> tuple[Deflate | None, str]:
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
                    deflate = Deflate(agreed.remote_max_window_bits, min(_WINDOW_BITS, agreed.local_max_window_bits))
                    return deflate, build_extension([(name, accepted)])
    return None, ""


class Frames(Protocol):
    """The library's part: frames, their order, the replies to them; with the messages in `assembly`."""

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        # Room for a control frame: the library counts one within a message as part of that message.
        super().__init__(Side.SERVER, max_size=max_size + CONTROL_SIZE, logger=_logger)
        self.assembly = Assembly(self, max_size)
        self.extensions = [self.assembly] if deflate is None else [self.assembly, deflate]
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
            self.messages.append(str(frame.data, "utf-8") if opcode is TEXT else bytes(frame.data))
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


class Deflate(PerMessageDeflate):
    """permessage-deflate with nothing kept between two messages, in either direction (RFC 7692, 7.1.1)."""

    def __init__(self, remote_bits: int, local_bits: int) -> None:
        super().__init__(True, True, remote_bits, local_bits)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.rsv1 and frame.opcode is CONT:  # library versions 14 to 16 accept it
            raise ProtocolError("RSV1 bit set in continuation frame")
        return super().decode(frame, max_size=max_size)

    def encode(self, frame: Frame) -> Frame:
        """Compress a message, unless it is short or would not shrink: RFC 7692, 6 leaves the choice to us."""
        size = len(frame.data)
        if size < DEFLATE_FROM or frame.opcode >= CLOSE:
            return frame
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self.local_max_window_bits, _MEMORY_LEVEL)
        data = deflater.compress(frame.data) + deflater.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - 4 >= size:
            return frame
        return Frame(frame.opcode, data[:-4], rsv1=True)  # RFC 7692, 7.2.1: without the empty block's end
