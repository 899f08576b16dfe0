"""WebSockets after the handshake: bytes to messages and back (RFC 6455, with permessage-deflate of RFC 7692).

The frames themselves are the work of the sans-IO layer of the package `websockets` (the extra allcomers[websocket]);
importing this file imports it. This file adds what a server needs around it: messages put together in bounded memory,
text checked fragment by fragment, a compression that leaves nothing behind between two messages, and a limit to what
one read may lead to. It knows one peer at a time; who waits, and until when, is known by the connection.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import io
import logging
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from websockets.exceptions import NegotiationError, ProtocolError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side, State

from allcomers.errors import AnswerError
from allcomers.protocol.handshake import Offer
from allcomers.protocol.head import encode_fields
from allcomers.protocol.http1 import CRLF

FRAGMENTS: Final = 128 * 1024
"""Frames that one message may come in; more is 1008. Precedent: ws had as many, and found that 16,384 are too few.

They cost no memory, for what they bring is put together at once. The limit ends a message of empty ones.
"""

STEP: Final = 8 * 1024
"""Bytes that are looked at before it is asked whether that was enough: they inflate to 8 MiB at most, beside a message.

PERF: with steps a message of 64 KB takes 20 µs more, but 64 KB of empty pings hold others up for 8 ms and not for 70
(python -m bench websocket).
"""

BATCH_FRAMES: Final = 64
BATCH_SIZE: Final = 64 * 1024
"""Frames, and bytes in them, after which the rest of what was heard is left for go_on()."""

DEFLATE_FROM: Final = 512
"""Bytes from which on a message is compressed: the shorter ones fit a packet anyway. Precedent: coder/websocket."""

_LEVEL: Final = 3
_WINDOW_BITS: Final = 12
_LEAST_BITS: Final = 9  # zlib does not compress with 8 (https://github.com/madler/zlib/issues/171)
_MEMORY_LEVEL: Final = 5
_CONTROL_SIZE: Final = 125  # RFC 6455, 5.5
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_NO_CODE: Final = 1005
_ABNORMAL: Final = 1006
_TOO_BIG: Final = 1009
_TOO_MANY: Final = 1008

CONT, TEXT, CLOSE, PONG = Opcode.CONT, Opcode.TEXT, Opcode.CLOSE, Opcode.PONG

_DEFLATE: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

_logger: Final = logging.getLogger("allcomers.websocket")
_logger.setLevel(logging.WARNING)  # the library says when each connection closes, and debugs every frame


class Closed(NamedTuple):
    """The last event: nothing comes after it.

    code    int: what the peer's Close frame says, 1005 where it says nothing; where it sent none, what ours said; 1006
            where the connection ended without any
    reason  str
    """

    code: int
    reason: str


Event: TypeAlias = str | bytes | Closed
"""A text message, a binary message, the end."""


# ---------------------------------------------------------------- the handshake's answer


def accept(
    offer: Offer,
    *,
    max_size: int,
    deflate: bool = True,
    subprotocol: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    own: bytes = b"",
) -> tuple[bytes, WebSocket]:
    """The head of the answer 101, and what speaks from there on.

    max_size  of a message, in bytes as they are before compression
    deflate   compress where the client offers it
    headers   of the app's; `own` are the server's: whole lines

    Raises AnswerError for a subprotocol that was not offered, and for headers that the app may not set.
    """
    extension, agreed = _agree(offer) if deflate else (None, b"")
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        base64.b64encode(hashlib.sha1(offer.key + _GUID, usedforsecurity=False).digest()),
        CRLF,
        agreed,
    ]
    if subprotocol is not None:
        if subprotocol not in offer.subprotocols:
            raise AnswerError(f"the client does not offer the subprotocol {subprotocol!r}")
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii"))
    lines += [_fields(headers), own, CRLF]
    return b"".join(lines), WebSocket(max_size=max_size, deflate=extension)


def _fields(headers: Iterable[tuple[str, str]]) -> bytes:
    """The app's headers. Those that encode_fields sets apart are the server's, as in any other answer."""
    pairs = list(headers)
    block, _ = encode_fields(pairs)
    for name, _ in pairs:
        if name.lower() == "upgrade" or name.lower().startswith("sec-websocket-"):
            raise AnswerError(f"{name} is the server's to set; an app chooses its `subprotocol`")
    return block


def _agree(offer: Offer) -> tuple[_Deflate | None, bytes]:
    """The first offer of permessage-deflate that can be taken, and the header line that says so."""
    for value in offer.extensions:
        for name, parameters in parse_extension(value):
            if name == _DEFLATE.name:
                try:
                    answer, agreed = _DEFLATE.process_request_params(parameters, [])
                except NegotiationError:  # there may be another offer, or none
                    continue
                bits = min(_WINDOW_BITS, agreed.local_max_window_bits)
                if bits < _LEAST_BITS:  # library versions up to 16 take it
                    continue
                line = f"Sec-WebSocket-Extensions: {build_extension([(name, answer)])}\r\n"
                return _Deflate(agreed.remote_max_window_bits, bits), line.encode("ascii")
    return None, b""


# ---------------------------------------------------------------- one peer


class WebSocket:
    """The server's end of one WebSocket.

    What it has to say is put together by its verbs and given out by data_to_send(). Nothing that a peer sends makes it
    raise: what breaks the protocol is answered with a Close frame of the right code.

    held          int: bytes fed that are not looked at yet; go_on() looks at more of them
    awaits_pong   bool: the peer has not answered our last ping()
    """

    __slots__ = ("_assembly", "_deaf", "_ended", "_held", "_pings", "_protocol", "_told", "awaits_pong")

    def __init__(self, *, max_size: int, deflate: _Deflate | None = None) -> None:
        self._protocol = _Frames(max_size)
        self._assembly = _Assembly(self._protocol, max_size)
        self._protocol.extensions = [self._assembly] if deflate is None else [self._assembly, deflate]
        self._held = b""
        self._pings = 0
        self._ended = False  # the peer says no more
        self._deaf = False  # we have said that we close: messages are not wanted
        self._told = False  # has Closed been given out?
        self.awaits_pong = False

    @property
    def open(self) -> bool:
        """May messages be sent? What is sent later is dropped."""
        return self._protocol.state is State.OPEN

    @property
    def over(self) -> bool:
        """Once data_to_send() has gone out, the connection is to be closed; what the peer says is not heard."""
        return self._protocol.eof_sent

    @property
    def held(self) -> int:
        return len(self._held)

    # ------------------------------------------------------------ what the peer says

    def feed(self, data: bytes) -> list[Event]:
        """The peer has said `data`; b"" is the end of what it says. What that was, as far as it is whole.

        Of much data a part may be left: see `held`. Pings are answered, without an event.
        """
        if not data:
            self._ended = True
        elif not self._ended and not self.over:
            self._held = self._held + data if self._held else data
        return self.go_on()

    def go_on(self) -> list[Event]:
        """What else is there of what was fed."""
        events: list[Event] = []
        held, protocol = self._held, self._protocol
        at = frames = size = 0
        while at < len(held) and frames < BATCH_FRAMES and size < BATCH_SIZE and not protocol.eof_sent:
            protocol.receive_data(held[at : at + STEP] if at or len(held) > STEP else held)
            at += STEP
            for frame in protocol.events_received():
                assert isinstance(frame, Frame)
                frames += 1
                size += len(frame.data)
                self._take(frame, events)
        self._held = b"" if protocol.eof_sent else held[at:]
        if self._ended and not self._held and protocol.state is not State.CLOSED:
            protocol.receive_eof()
        if protocol.eof_sent:
            self._end(events)
        return events

    def _take(self, frame: Frame, events: list[Event]) -> None:
        if frame.opcode < CLOSE:
            if frame.fin:
                message = self._assembly.messages.pop(0)
                if not self._deaf:
                    events.append(message)
        elif frame.opcode is PONG:
            if frame.data == self._payload():
                self.awaits_pong = False
        elif frame.opcode is CLOSE:
            self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        if not self._told:
            self._told = True
            close = self._protocol.close_rcvd or self._protocol.close_sent
            events.append(Closed(_ABNORMAL, "") if close is None else Closed(int(close.code), close.reason))

    def _end(self, events: list[Event]) -> None:
        """Nothing is heard from here on: what it took to hear is given back now."""
        self._tell(events)
        self._assembly.clear()
        self._assembly.messages = []
        self._protocol.extensions = []

    # ------------------------------------------------------------ what we say

    def text(self, message: str) -> None:
        """Raises AnswerError for what is no text: half of a surrogate pair."""
        if self.open:
            try:
                data = message.encode()
            except UnicodeEncodeError as error:
                raise AnswerError(f"a text message has a character that UTF-8 cannot carry: {error}") from None
            self._protocol.send_text(data)

    def binary(self, message: bytes) -> None:
        if self.open:
            self._protocol.send_binary(message)

    def ping(self) -> None:
        """Ask for a sign of life: `awaits_pong` until it comes."""
        if self.open:
            self._pings += 1
            self._protocol.send_ping(self._payload())
            self.awaits_pong = True

    def _payload(self) -> bytes:
        return (self._pings & 0xFFFFFFFF).to_bytes(4, "big")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """We say no more; the peer is to say the same, and messages of it are not heard any more.

        The reason is cut to the 123 bytes that a Close frame holds. Raises AnswerError for a code that it cannot hold
        (RFC 6455, 7.4); 1005 sends none.
        """
        if not self.open:
            return
        self._deaf = True
        self._assembly.deaf = True
        if code == _NO_CODE:
            self._protocol.send_close()
        else:
            self._protocol.send_close(*_checked(code, reason))

    def fail(self, code: int, reason: str = "") -> None:
        """As close(), but without a wait for the peer's word: it is over."""
        if not self.over:
            self._protocol.fail(*_checked(code, reason))

    def data_to_send(self) -> list[bytes]:
        """What the verbs, and the answers to pings and to Close, have put together since this was last asked."""
        return [data for data in self._protocol.data_to_send() if data]


def _checked(code: int, reason: str) -> tuple[int, str]:
    reason = reason.encode("utf-8", "replace")[: _CONTROL_SIZE - 2].decode("utf-8", "ignore")
    try:
        Close(code, reason).check()
    except ProtocolError:
        raise AnswerError(f"{code!r} is no code that closes a WebSocket: 1000 to 1014, 3000 to 4999") from None
    return code, reason


# ---------------------------------------------------------------- frames to messages


class _Frames(Protocol):
    """The library's part: frames, their order, what is answered to them."""

    def __init__(self, max_size: int) -> None:
        # Room for a control frame: the library counts it as a part of the message that it stands in.
        super().__init__(Side.SERVER, max_size=max_size + _CONTROL_SIZE, logger=_logger)
        self._limit = max_size

    def fail(self, code: int, reason: str = "") -> None:
        if code == _TOO_BIG:
            reason = f"a message is larger than {self._limit} bytes"
        super().fail(code, reason)


class _Assembly(Extension):
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


class _Deflate(PerMessageDeflate):
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
