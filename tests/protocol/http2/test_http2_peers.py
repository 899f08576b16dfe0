"""A session and the package h2 as peers: whole, byte by byte, and cut anywhere; and two sessions of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.config.limits import Http2Limits, Limits
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import (
    DataReceived,
    Http2Event,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
    WindowOpened,
)
from allcomers.protocol.http2.session import Session

pytestmark = pytest.mark.usefixtures("both_builds")

Pairs = list[tuple[str, str]]
Cut = Callable[[bytes], Iterator[bytes]]
Asked = tuple[str, Pairs, int, Pairs]


def whole(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def each_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def steps(sizes: list[int]) -> Cut:
    """Cut into pieces of these sizes, in turns, with a long one after them."""

    def cut(data: bytes) -> Iterator[bytes]:
        turn = 0
        while data:
            size = [*sizes, 2000][turn % (len(sizes) + 1)]
            yield data[:size]
            data, turn = data[size:], turn + 1

    return cut


class Echo:
    """A server on a session: it answers each request with its method, its path, its body and its trailers."""

    def __init__(self, http2: Http2Limits) -> None:
        self.session = Session(is_server=True, limits=Limits(), http2=http2)
        self.bodies: dict[int, bytes] = {}
        self.unsent: dict[int, bytes] = {}
        self.heads: dict[int, RequestReceived] = {}
        self.trailers: dict[int, Pairs] = {}

    def receive(self, data: bytes) -> bytes:
        for event in self.session.receive(data, 0.0):
            self.on_event(event)
        for stream in list(self.unsent):
            self.send(stream)
        return self.session.output()

    def on_event(self, event: Http2Event) -> None:
        if isinstance(event, RequestReceived):
            self.heads[event.stream] = event
            self.bodies[event.stream] = b""
            if event.complete:
                self.respond(event.stream)
        elif isinstance(event, DataReceived):
            self.bodies[event.stream] += event.data
            self.session.consumed(event.stream, len(event.data))
            if event.complete:
                self.respond(event.stream)
        elif isinstance(event, TrailersReceived):
            self.trailers[event.stream] = [(name.decode(), value.decode()) for name, value in event.fields]
            self.respond(event.stream)
        else:
            assert isinstance(event, WindowOpened)

    def respond(self, stream: int) -> None:
        request, body = self.heads[stream].head.request(), self.bodies[stream]
        pairs = [("X-Method", request.method), ("X-Path", request.target), ("X-Value", request.headers.get("x", ""))]
        block = blocks.status_block(200) + blocks.fields_block(pairs)[0]
        if stream in self.trailers or not self.session.answer(stream, block, body):
            self.session.respond(stream, block)
            self.unsent[stream] = body

    def send(self, stream: int) -> None:
        body, trailers = self.unsent[stream], self.trailers.get(stream)
        size = min(len(body), self.session.room(stream))
        if size or not body:
            self.session.send(stream, body[:size], size == len(body) and trailers is None)
        self.unsent[stream] = body[size:]
        if size == len(body):
            del self.unsent[stream]
            if trailers is not None:
                self.session.trailers(stream, blocks.fields_block(trailers)[0])


class H2Client:
    """A client on h2: requests one after another or at once, and what came back."""

    def __init__(self, window: int) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.connection.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.connection.initiate_connection()
        self.unsent: dict[int, tuple[bytes, Pairs]] = {}
        self.found: dict[int, tuple[Pairs, bytearray, Pairs]] = {}
        self.ended: set[int] = set()

    def request(self, stream: int, method: str, fields: Pairs, body: bytes, trailers: Pairs) -> None:
        head = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", f"/{stream}"), *fields]
        self.connection.send_headers(stream, head, end_stream=not body and not trailers)
        if body or trailers:
            self.unsent[stream] = body, trailers

    def receive(self, data: bytes) -> bytes:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                pairs = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
                self.found[event.stream_id] = (pairs, bytearray(), [])
            elif isinstance(event, h2.events.DataReceived):
                self.found[event.stream_id][1].extend(event.data)
                if event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.found[event.stream_id][2].extend((name.decode(), value.decode()) for name, value in event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
        for stream in list(self.unsent):
            self.send(stream)
        return self.connection.data_to_send()

    def send(self, stream: int) -> None:
        body, trailers = self.unsent.pop(stream)
        while body and (room := self.connection.local_flow_control_window(stream)):
            size = min(len(body), room, 5000)
            self.connection.send_data(
                stream,
                body[:size],
                end_stream=size == len(body) and not trailers,
                pad_length=size % 7 if size + 7 <= room else None,
            )
            body = body[size:]
        if body:
            self.unsent[stream] = body, trailers
        elif trailers:
            self.connection.send_headers(stream, trailers, end_stream=True)


def converse(client: Callable[[bytes], bytes], server: Callable[[bytes], bytes], cut: Cut) -> None:
    """Carry bytes to and fro, cut into pieces, until nobody has any."""
    up = client(b"")
    while up:
        down = b"".join(server(piece) for piece in cut(up))
        up = b"".join(client(piece) for piece in cut(down))


VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
REQUEST = st.tuples(
    st.sampled_from(["GET", "POST", "PATCH"]),
    st.lists(st.tuples(st.just("x"), VALUES), max_size=2),
    st.integers(0, 3) | st.sampled_from([20_000]),
    st.lists(st.tuples(st.just("t"), VALUES), max_size=1),
)
REQUESTS = st.lists(REQUEST, min_size=1, max_size=4)
WINDOWS = st.integers(3000, 70_000)
CUTS = st.just(whole) | st.lists(st.integers(1, 3000), min_size=1, max_size=5).map(steps)


@settings(max_examples=25)
@given(REQUESTS, CUTS, st.integers(1000, 70_000), WINDOWS, st.booleans())
def test_h2_as_the_client(requests: list[Asked], cut: Cut, window: int, ours: int, at_once: bool) -> None:
    echo, client = Echo(Http2Limits(stream_window=ours, connection_window=ours)), H2Client(window)
    converse(client.receive, echo.receive, cut)
    for place, (method, fields, size, trailers) in enumerate(requests):
        client.request(2 * place + 1, method, fields, bytes(size), trailers)
        if not at_once:
            converse(client.receive, echo.receive, cut)
    converse(client.receive, echo.receive, cut)
    check(client.found, requests)
    assert len(client.ended) == len(requests)
    assert not echo.session.streams
    assert echo.session.receive_window + echo.session.returned == max(ours, 65535)


def check(found: dict[int, tuple[Pairs, bytearray, Pairs]], requests: list[Asked]) -> None:
    assert len(found) == len(requests)
    for place, (method, fields, size, trailers) in enumerate(requests):
        stream = 2 * place + 1
        value = ", ".join(value for _, value in fields)
        head = [(":status", "200"), ("x-method", method), ("x-path", f"/{stream}"), ("x-value", value)]
        assert found[stream] == (head, bytearray(size), trailers)


def test_byte_by_byte() -> None:
    requests: list[Asked] = [("GET", [("x", "y")], 0, []), ("POST", [], 3000, [("t", "u")])]
    echo, client = Echo(Http2Limits()), H2Client(100)
    for place, (method, fields, size, trailers) in enumerate(requests):
        client.request(2 * place + 1, method, fields, bytes(size), trailers)
    converse(client.receive, echo.receive, each_byte)
    check(client.found, requests)


class Client:
    """A client on a session of ours."""

    def __init__(self, http2: Http2Limits) -> None:
        self.session = Session(is_server=False, limits=Limits(), http2=http2)
        self.unsent: dict[int, tuple[bytes, Pairs]] = {}
        self.found: dict[int, tuple[Pairs, bytearray, Pairs]] = {}

    def request(self, method: str, fields: Pairs, body: bytes, trailers: Pairs) -> None:
        head = blocks.request_block(method, "http", "a", f"/{self.session.table.last + 2}", fields)
        stream = self.session.request(head, end=not body and not trailers)
        if body or trailers:
            self.unsent[stream] = body, trailers

    def receive(self, data: bytes) -> bytes:
        for event in self.session.receive(data, 0.0):
            if isinstance(event, ResponseReceived):
                pairs = [(":status", str(event.status)), *((n.decode(), v.decode("latin-1")) for n, v in event.fields)]
                self.found[event.stream] = (pairs, bytearray(), [])
            elif isinstance(event, DataReceived):
                self.found[event.stream][1].extend(event.data)
                self.session.consumed(event.stream, len(event.data))
            elif isinstance(event, TrailersReceived):
                self.found[event.stream][2].extend((name.decode(), value.decode()) for name, value in event.fields)
            else:
                assert isinstance(event, WindowOpened)
        for stream, (body, trailers) in list(self.unsent.items()):
            size = min(len(body), self.session.room(stream))
            self.session.send(stream, body[:size], end=size == len(body) and not trailers)
            self.unsent[stream] = body[size:], trailers
            if size == len(body):
                del self.unsent[stream]
                if trailers:
                    self.session.trailers(stream, blocks.fields_block(trailers)[0])
        return self.session.output()


@settings(max_examples=25)
@given(REQUESTS, CUTS, WINDOWS, WINDOWS)
def test_two_sessions(requests: list[Asked], cut: Cut, ours: int, theirs: int) -> None:
    echo = Echo(Http2Limits(stream_window=ours, connection_window=ours))
    client = Client(Http2Limits(stream_window=theirs, connection_window=theirs))
    for method, fields, size, trailers in requests:
        client.request(method, fields, bytes(size), trailers)
    converse(client.receive, echo.receive, cut)
    check(client.found, requests)
    assert not client.session.streams
    assert not echo.session.streams


class H2Server:
    """A server on h2: it answers as Echo does."""

    def __init__(self) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.connection.initiate_connection()
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.trailers: dict[int, Pairs] = {}
        self.unsent: dict[int, bytes] = {}

    def receive(self, data: bytes) -> bytes:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                joined: dict[str, str] = {}
                for name, value in event.headers:
                    text = value.decode()
                    joined[name.decode()] = f"{joined[name.decode()]}, {text}" if name.decode() in joined else text
                self.heads[event.stream_id], self.bodies[event.stream_id] = joined, bytearray()
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id].extend(event.data)
                if event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[event.stream_id] = [(name.decode(), value.decode()) for name, value in event.headers]
            elif isinstance(event, h2.events.StreamEnded):
                self.respond(event.stream_id)
        for stream in list(self.unsent):
            self.send(stream)
        return self.connection.data_to_send()

    def respond(self, stream: int) -> None:
        head = self.heads[stream]
        pairs = [("x-method", head[":method"]), ("x-path", head[":path"]), ("x-value", head.get("x", ""))]
        self.connection.send_headers(stream, [(":status", "103")])
        self.connection.send_headers(stream, [(":status", "200"), *pairs])
        self.unsent[stream] = bytes(self.bodies[stream])

    def send(self, stream: int) -> None:
        body, trailers = self.unsent.pop(stream), self.trailers.get(stream)
        while body and (room := self.connection.local_flow_control_window(stream)):
            size = min(len(body), room, 5000)
            self.connection.send_data(stream, body[:size], pad_length=size % 7 if size + 7 <= room else None)
            body = body[size:]
        if body:
            self.unsent[stream] = body
        elif trailers:
            self.connection.send_headers(stream, trailers, end_stream=True)
        else:
            self.connection.end_stream(stream)


@settings(max_examples=25)
@given(REQUESTS, CUTS, WINDOWS)
def test_h2_as_the_server(requests: list[Asked], cut: Cut, ours: int) -> None:
    server, client = H2Server(), Client(Http2Limits(stream_window=ours, connection_window=ours))
    for method, fields, size, trailers in requests:
        client.request(method, fields, bytes(size), trailers)
    converse(client.receive, server.receive, cut)
    check(client.found, requests)
    assert not client.session.streams
