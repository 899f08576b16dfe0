"""WebSockets after the handshake: bytes to messages and back (RFC 6455, with permessage-deflate of RFC 7692).

The frames themselves are the work of the sans-IO layer of the package `websockets` (the extra allcomers[websocket]);
importing this file imports it. Compiled, those of the common shape never come to it: a client that sends no others
costs none of its objects. This file adds a server's needs: messages joined in bounded memory, text checked fragment by
fragment, a compression that keeps nothing between two messages, and a limit to the work of one read. It knows one peer
at a time; the connection knows who waits, and until when.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame
from websockets.protocol import State

from allcomers.errors import AnswerError
from allcomers.protocol import compiled
from allcomers.protocol.encode import encode_fields
from allcomers.protocol.http1 import CRLF
from allcomers.protocol.websocket.frames import (
    CLOSE,
    CONTROL_SIZE,
    NO_CODE,
    PING,
    PONG,
    Frames,
    Windows,
    agree,
    frame_of,
    framed,
    message_of,
    read_common,
)
from allcomers.protocol.websocket.handshake import Offer

if TYPE_CHECKING:
    from websockets.typing import BytesLike

STEP: Final = 8 * 1024
"""Bytes that are parsed before the next check of the batch's limits: they inflate to 8 MiB at most, beside a message.

PERF: with steps a message of 64 KB takes 20 µs more, but 64 KB of empty pings hold others up for 8 ms and not for 70
(python -m bench websocket).
"""

BATCH_FRAMES: Final = 64
BATCH_SIZE: Final = 64 * 1024
"""Frames, and bytes in them, after which the rest of the received bytes is left for go_on()."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_ABNORMAL: Final = 1006
_CONTROL_HEAD: Final = 6  # a client's: two bytes and the mask (RFC 6455, 5.2)


class Closed(NamedTuple):
    """The last event.

    code    int: the code of the peer's Close frame, 1005 where that has none; without a frame of the peer, the code of
            ours; 1006 where the connection ended without any
    reason  str
    """

    code: int
    reason: str


Event: TypeAlias = str | bytes | Closed
"""A text message, a binary message, the end."""


# ---------------------------------------------------------------- the handshake's response


def accept(
    offer: Offer,
    *,
    max_size: int,
    deflate: bool = True,
    subprotocol: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    server: bytes = b"",
) -> tuple[bytes, WebSocket]:
    """Return the head of the response 101, and the WebSocket of the bytes that follow.

    max_size  of a message, in bytes before compression
    deflate   compress where the client offers it
    headers   the app's; `server` is the Server line, for an app that sets none

    Raises AnswerError for a subprotocol that was not offered, and for headers that the app may not set.
    """
    key = base64.b64encode(hashlib.sha1(offer.key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Sec-WebSocket-Accept: %b\r\n" % key,
    ]
    windows, agreed = agree(offer) if deflate else (None, "")
    if windows is not None:
        lines.append(b"Sec-WebSocket-Extensions: %b\r\n" % agreed.encode("ascii"))
    if subprotocol is not None:
        if subprotocol not in offer.subprotocols:
            raise AnswerError(f"the client does not offer the subprotocol {subprotocol!r}")
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii"))
    lines += [_fields(headers, server), CRLF]
    return b"".join(lines), WebSocket(max_size=max_size, windows=windows)


def _fields(headers: Iterable[tuple[str, str]], server: bytes) -> bytes:
    """Return the lines of the app's headers, and of Server. Of those that encode_fields sets apart, an app may choose
    Server and Date, as in any other response; the handshake decides the rest."""
    pairs = list(headers)
    block, ours = encode_fields(pairs)
    for name, _ in pairs:
        if name.lower() == "upgrade" or name.lower().startswith("sec-websocket-"):
            raise AnswerError(f"{name} is the server's to set; an app chooses its `subprotocol`")
    own = ours or {}
    lines = [f"{name}: {own[name.lower()]}\r\n" for name in ("Server", "Date") if own.get(name.lower())]
    return block + (b"" if "server" in own else server) + "".join(lines).encode("latin-1")


# ---------------------------------------------------------------- one peer


class WebSocket:
    """The server's end of one WebSocket.

    Its verbs queue bytes, and data_to_send() returns them. Nothing that a peer sends makes it raise: it responds to a
    break of the protocol with a Close frame of the right code. Text is checked frame by frame.

    held     int: bytes fed and not parsed yet; go_on() parses more of them
    control  int: bytes of control frames so far, as they came
    """

    __slots__ = (
        "_close_reported", "_ended", "_expected_pong", "_frames", "_held", "_max_size", "_pings", "_windows", "_writes",
        "control",
    )  # fmt: skip

    def __init__(self, *, max_size: int, windows: Windows | None = None) -> None:
        self._max_size = max_size
        self._windows = windows
        self._frames: Frames | None = None  # made for the first frame that is not common
        self._writes: list[bytes] = []
        self._held = b""
        self._pings = 0
        self.control = 0
        self._ended = False  # the peer sends no more
        self._close_reported = False
        self._expected_pong = b""  # the payload of the last ping(), until the peer has answered it

    @property
    def open(self) -> bool:
        """Whether messages may be sent. Later ones are dropped."""
        return self._frames is None or self._frames.state is State.OPEN

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed once data_to_send() is sent; bytes of the peer are ignored."""
        return self._frames is not None and self._frames.eof_sent

    @property
    def awaits_pong(self) -> bool:
        """Whether the peer has not answered our last ping()."""
        return self._expected_pong != b""

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def under_way(self) -> int:
        """The bytes of memory of a message that has begun; 0 between two messages."""
        return 0 if self._frames is None else self._frames.under_way

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is queued or held, and all that was received was common."""
        return self._frames is None and not self._writes and not self._held

    # ------------------------------------------------------------ receiving

    def message_of(self, data: bytes) -> str | bytes | None:
        """Return the message that `data` from the peer is, no less and no more; None for data that feed() is to get.
        Only while `is_at_rest`."""
        return None if self._ended else message_of(data, self._max_size)

    def feed(self, data: bytes) -> list[Event]:
        """Parse `data` from the peer, b"" at its end, and return the events that are whole.

        Much data may be parsed in part: see `held`. A ping gets its pong, without an event.
        """
        if not data:
            self._ended = True
        elif not self._ended and not self.over:
            self._held = self._held + data if self._held else data
        return self.go_on()

    def go_on(self) -> list[Event]:
        """Parse more of the bytes fed before, and return their events."""
        events: list[Event] = []
        held, at, frames, size = self._held, 0, 0, 0
        while at < len(held) and frames < BATCH_FRAMES and size < BATCH_SIZE and not self.over:
            common = self._read_common(held, at)
            if common is not None:
                opcode, message, at = common
                frames += 1
                size += len(message)
                self._receive_common(opcode, message, events)
                continue
            for frame in self._parse(held[at : at + STEP] if at or len(held) > STEP else held):
                frames += 1
                size += len(frame.data)
                self._receive(frame, events)
                frame.data = b""  # the library's parser refers to the last frame until the next one comes
            at += STEP
        self._held = b"" if self.over else held[at:]
        if self._ended and not self._held:
            self._receive_end()
        if self.over:
            self._end(events)
        return events

    def _read_common(self, data: bytes, at: int) -> tuple[int, str | bytes, int] | None:
        if not compiled.COMPILED or not (self._frames is None or self._frames.is_between):
            return None
        return read_common(data, at, self._max_size, self._windows)

    def _receive_common(self, opcode: int, message: str | bytes, events: list[Event]) -> None:
        if opcode < CLOSE:
            events.append(message)
            return
        assert isinstance(message, bytes)
        self.control += len(message) + _CONTROL_HEAD
        if opcode == PONG:
            self._receive_pong(message)
        else:
            self._writes.append(frame_of(PONG, message))

    def _library(self) -> Frames:
        if self._frames is None:
            self._frames = Frames(self._max_size, self._windows)
        return self._frames

    def _parse(self, data: bytes) -> list[Frame]:
        library = self._library()
        library.receive_data(data)
        frames = library.events_received()
        self._writes += library.data_to_send()
        return cast("list[Frame]", frames)

    def _receive(self, frame: Frame, events: list[Event]) -> None:
        library = self._library()
        if frame.opcode >= CLOSE:
            self.control += len(frame.data) + _CONTROL_HEAD
        if frame.opcode < CLOSE:
            if frame.fin:
                message = library.assembly.messages.pop(0)
                if not library.assembly.discards:
                    events.append(message)
        elif frame.opcode is PONG:
            self._receive_pong(frame.data)
        elif frame.opcode is CLOSE:
            self._report_close(events)

    def _receive_pong(self, payload: BytesLike) -> None:
        if payload == self._expected_pong:
            self._expected_pong = b""

    def _receive_end(self) -> None:
        library = self._library()
        if library.state is not State.CLOSED:
            library.receive_eof()
            self._writes += library.data_to_send()

    def _report_close(self, events: list[Event]) -> None:
        if not self._close_reported:
            self._close_reported = True
            library = self._library()
            close = library.close_rcvd or library.close_sent
            events.append(Closed(_ABNORMAL, "") if close is None else Closed(int(close.code), close.reason))

    def _end(self, events: list[Event]) -> None:
        """Report the end, and free the memory for incoming frames: later bytes are ignored."""
        self._report_close(events)
        self._library().forget()

    # ------------------------------------------------------------ sending

    def text(self, message: str) -> None:
        """Send a text message. Raises AnswerError for half of a surrogate pair, which is no text."""
        if self.open:
            try:
                self._writes.append(framed(message, self._windows))
            except UnicodeEncodeError as error:
                raise AnswerError(f"a text message has a character that UTF-8 cannot carry: {error}") from None

    def binary(self, message: bytes) -> None:
        if self.open:
            self._writes.append(framed(message, self._windows))

    def ping(self) -> None:
        """Send a ping: `awaits_pong` is True until the peer's pong comes.

        Free the library's part where nothing has begun: the peer is at rest."""
        if self.open:
            if compiled.COMPILED and self._frames is not None and self._frames.is_between:
                self._frames = None
            self._pings += 1
            self._expected_pong = (self._pings & 0xFFFFFFFF).to_bytes(4, "big")
            self._writes.append(frame_of(PING, self._expected_pong))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame; the peer is to do so, too, and its messages are dropped from here on.

        The reason is cut to the 123 bytes that a Close frame holds. Raises AnswerError for a code that it cannot hold
        (RFC 6455, 7.4); 1005 sends none.
        """
        if not self.open:
            return
        library = self._library()
        library.assembly.discards = True
        if code == NO_CODE:
            library.send_close()
        else:
            library.send_close(*_checked(code, reason))
        self._writes += library.data_to_send()

    def fail(self, code: int, reason: str = "") -> None:
        """Send a Close frame as close(), and end without a wait for the peer's."""
        if not self.over:
            library = self._library()
            library.fail(*_checked(code, reason))
            self._writes += library.data_to_send()
            library.forget()

    def data_to_send(self) -> list[bytes]:
        """Return the bytes queued since the last call: by the verbs, for pings and for Close."""
        writes, self._writes = self._writes, []
        return writes if self._frames is None else [data for data in writes if data]


def _checked(code: int, reason: str) -> tuple[int, str]:
    reason = reason.encode("utf-8", "replace")[: CONTROL_SIZE - 2].decode("utf-8", "ignore")
    try:
        Close(code, reason).serialize()
    except (ProtocolError, TypeError, struct.error):  # out of range, or no number
        raise AnswerError(f"{code!r} is no code that closes a WebSocket: 1000 to 1014, 3000 to 4999") from None
    return code, reason
