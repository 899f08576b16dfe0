"""What is built upon the sans-IO layer of `websockets`, by its own means: frames to messages, and their compression.

The library reads and writes frames, and knows their order and the closing handshake. Assembly and Deflate are
extensions to it, which see each frame before the next one is looked at. Importing this file imports the library, in
30 ms (python -m bench websocket): whoever serves no WebSocket does not.
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
"""Frames that one message may come in; more is 1008. Precedent: ws had as many, and found that 16,384 are too few.

They cost no memory, for what they bring is put together at once. The limit ends a message of empty ones.
"""

DEFLATE_FROM: Final = 512
"""Bytes from which on a message is compressed: the shorter ones fit a packet anyway. Precedent: coder/websocket."""

CONTROL_SIZE: Final = 125
"""Bytes that a control frame has at most (RFC 6455, 5.5)."""

CONT, TEXT, CLOSE, PONG = Opcode.CONT, Opcode.TEXT, Opcode.CLOSE, Opcode.PONG

NO_CODE: Final = 1005
"""What stands for the code of a Close frame that has none (RFC 6455, 7.1.5)."""

_NORMAL: Final = 1000
_TOO_MANY: Final = 1008
_TOO_BIG: Final = 1009

_LEVEL: Final = 3
_MEMORY_LEVEL: Final = 5
_WINDOW_BITS: Final = 12
_LEAST_BITS: Final = 9  # zlib does not compress with 8 (https://github.com/madler/zlib/issues/171)

_FACTORY: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

_logger: Final = logging.getLogger("allcomers.websocket")
_logger.setLevel(logging.WARNING)  # the library says when each connection closes, and debugs every frame


def agree(offer: Offer) -> tuple[Deflate | None, str]:
    """The first offer of permessage-deflate that can be taken, and what is said to it; (None, "") where there is none.

    `offer.extensions` are well-formed.
    """
    for value in offer.extensions:
        for name, parameters in parse_extension(value):
            if name == _FACTORY.name:
                try:
                    answer, agreed = _FACTORY.process_request_params(parameters, [])
                except NegotiationError:  # there may be another offer
                    continue
                if agreed.local_max_window_bits >= _LEAST_BITS:  # library versions up to 16 take less
                    deflate = Deflate(agreed.remote_max_window_bits, min(_WINDOW_BITS, agreed.local_max_window_bits))
                    return deflate, build_extension([(name, answer)])
    return None, ""


class Frames(Protocol):
    """The library's part: frames, their order, what is answered to them; with the messages in `assembly`."""

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        # Room for a control frame: the library counts it as a part of the message that it stands in.
        super().__init__(Side.SERVER, max_size=max_size + CONTROL_SIZE, logger=_logger)
        self.assembly = Assembly(self, max_size)
        self.extensions = [self.assembly] if deflate is None else [self.assembly, deflate]
        self._limit = max_size

    def fail(self, code: int, reason: str = "") -> None:
        close = self.close_rcvd
        if close is not None and self.state is State.OPEN:
            # The client closes within a message. The library finds fault with that; RFC 6455, 5.4 does not.
            code, reason = close.code if close.code != NO_CODE else _NORMAL, close.reason
        elif code == _TOO_BIG:
            reason = f"a message is larger than {self._limit} bytes"
        super().fail(code, reason)

    def forget(self) -> None:
        """No frame comes any more: give back now what it took to hear them. These objects refer to each other."""
        self.assembly.clear()
        self.assembly.messages = []
        self.extensions = []


class Assembly(Extension):
    """Puts messages together out of frames, as one of the library's extensions: so it sees each before the next.

    Fragments are decoded and put together as they come. A list of them would cost a multiple of the message.

    messages  those that are whole, each until the library gives out the last frame of it
    deaf      messages are not wanted any more
    """

    name = "allcomers-assembly"  # type: ignore[assignment]

    def __init__(self, protocol: Protocol, max_size: int) -> None:
        self.messages: list[str | bytes] = []
        self.deaf = False
        self._protocol = protocol
        self._max_size = max_size
        self.clear()

    def clear(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._text: io.StringIO | None = None
        self._data: io.BytesIO | None = None
        self._size = 0
        self._frames = 0

    def encode(self, frame: Frame) -> Frame:
        return frame

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """A frame has come. Raises UnicodeDecodeError, ProtocolError.

        Whether it may come now is checked by the library after this.
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
        raise ProtocolError(reason)  # the code is said already: this ends the frames

    def _add(self, frame: Frame) -> None:
        """A fragment of a message."""
        if frame.opcode is TEXT:
            self._decoder = codecs.getincrementaldecoder("utf-8")()
            self._text = io.StringIO(newline="")
        elif frame.opcode is not CONT:
            self._data = io.BytesIO()
        self._count(len(frame.data))
        if self._text is not None and self._decoder is not None:
            piece = self._decoder.decode(bytes(frame.data), frame.fin)
            if not self.deaf:
                self._text.write(piece)
        elif self._data is not None and not self.deaf:
            self._data.write(frame.data)
        if frame.fin:
            whole = self._text or self._data
            self.messages.append(b"" if whole is None else whole.getvalue())
            self.clear()

    def _count(self, size: int) -> None:
        self._frames += 1
        self._size += size
        if self._size > self._max_size:
            self._refuse(_TOO_BIG)
        if self._frames > FRAGMENTS:
            self._refuse(_TOO_MANY, f"a message has more than {FRAGMENTS} fragments")


class Deflate(PerMessageDeflate):
    """permessage-deflate with nothing kept between two messages, in either direction (RFC 7692, 7.1.1)."""

    def __init__(self, remote_bits: int, local_bits: int) -> None:
        super().__init__(True, True, remote_bits, local_bits)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.rsv1 and frame.opcode is CONT:  # library versions 14 to 16 take it
            raise ProtocolError("RSV1 bit set in continuation frame")
        return super().decode(frame, max_size=max_size)

    def encode(self, frame: Frame) -> Frame:
        """Compress a message, unless it is short or does not get shorter: that is ours to choose (RFC 7692, 6)."""
        size = len(frame.data)
        if size < DEFLATE_FROM or frame.opcode >= CLOSE:
            return frame
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self.local_max_window_bits, _MEMORY_LEVEL)
        data = deflater.compress(frame.data) + deflater.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - 4 >= size:
            return frame
        return Frame(frame.opcode, data[:-4], rsv1=True)  # RFC 7692, 7.2.1: without the empty block's end
