"""An HTTP/2 client on the package h2: several requests at once on a real socket, and what came of each."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from support.wires import Address, wire


@dataclass
class Reply:
    """What came in a stream so far.

    interim  the fields of each 1xx
    code     of the reset that ended it; None where none has
    """

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    complete: bool = False
    code: int | None = None

    def __getitem__(self, name: str) -> str | None:
        """The value of the one field called `name`, None where there is none."""
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def over(self) -> bool:
        return self.complete or self.code is not None


class Http2Peer:
    """A client without its socket: it hears all streams at once.

    h2     the connection's state
    opens  bool: windows open again as data comes
    gone   the GOAWAY frames that came: (last stream, code)
    ended  bool: the server has closed
    """

    scheme = "http"

    def __init__(
        self, *, opens: bool = True, settings: dict[h2.settings.SettingCodes, int] | None = None, checks: bool = True
    ) -> None:  # fmt: skip
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True, header_encoding="utf-8", validate_outbound_headers=checks,
                normalize_outbound_headers=checks,
            )
        )  # fmt: skip
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.opens = opens
        self.replies: dict[int, Reply] = {}
        self.gone: list[tuple[int, int]] = []
        self.ended = False

    def transmit(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def collect(self) -> bytes:
        """Wait for bytes; b"" at the server's end."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is to be sent."""
        if data := self.h2.data_to_send():
            self.transmit(data)

    def request(
        self, method: str = "GET", path: str = "/hello", *fields: tuple[str, str], body: bytes | None = None,
        end: bool = True, authority: str = "localhost",
    ) -> int:  # fmt: skip
        """Send a request; return its stream. A `body` goes out as windows allow it."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", path), *fields]
        self.replies[stream] = Reply()
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.send(stream, body, end)
        return stream

    def connect_to(self, protocol: str, path: str, *fields: tuple[str, str]) -> int:
        """Ask for another protocol in a stream (RFC 8441); return the stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", self.scheme), (":authority", "localhost")]
        self.replies[stream] = Reply()
        self.h2.send_headers(stream, [*head, (":path", path), *fields])
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, end: bool = True) -> None:
        """Send more of a body, and wait for windows."""
        at = 0
        while at < len(body) and not self.replies[stream].over:
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body) - at)
            if size <= 0:
                self.hear()
                continue
            self.h2.send_data(stream, body[at : at + size])
            at += size
            self.flush()
        if end and not self.replies[stream].over:
            self.h2.end_stream(stream)
            self.flush()

    def ask(self, method: str = "GET", path: str = "/hello", *fields: tuple[str, str], **keywords: Any) -> Reply:
        """Send one request, hear its reply."""
        return self.reply(self.request(method, path, *fields, **keywords))

    def reply(self, stream: int) -> Reply:
        """The reply in `stream`, whole or reset."""
        while not self.replies[stream].over:
            self.hear()
        return self.replies[stream]

    def all_replies(self, streams: Iterable[int]) -> list[Reply]:
        return [self.reply(stream) for stream in streams]

    def hear(self) -> None:
        """Wait until something comes. The server's end is an error for whoever waits for more."""
        assert not self.ended, "the server has closed"
        data = self.collect()
        self.ended = not data
        if data:
            self.take(data)
            self.flush()

    def take(self, data: bytes) -> None:
        """Note what came."""
        for event in self.h2.receive_data(data):
            self._note(event)

    def hear_until(self, condition: Callable[[], object]) -> None:
        """Hear until that is true."""
        while not condition():
            self.hear()

    def ends(self) -> None:
        """Hear all to the end."""
        while not self.ended:
            self.hear()

    def _note(self, event: Any) -> None:
        reply = self.replies.get(getattr(event, "stream_id", 0) or 0, Reply())
        fields: Any = getattr(event, "headers", ())
        match event:
            case h2.events.InformationalResponseReceived():
                reply.interim.append(fields)
            case h2.events.ResponseReceived():
                reply.status = int(dict(fields)[":status"])
                reply.fields = fields[1:]
            case h2.events.DataReceived():
                reply.body += event.data
                if self.opens and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                reply.trailers = fields
            case h2.events.StreamEnded():
                reply.complete = True
            case h2.events.StreamReset():
                reply.code = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.gone.append((event.last_stream_id or 0, int(event.error_code or 0)))


class Http2Client(Http2Peer):
    """A client on a socket."""

    def __init__(
        self, address: Address, tls: ssl.SSLContext | None = None, *, receive_buffer: int = 0, **keywords: Any
    ) -> None:  # fmt: skip
        super().__init__(**keywords)
        self.wire = wire(address, tls, receive_buffer=receive_buffer)
        self.scheme = "https" if tls else "http"
        self.flush()

    def transmit(self, data: bytes) -> None:
        self.wire.send(data)

    def collect(self) -> bytes:
        return self.wire.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()
