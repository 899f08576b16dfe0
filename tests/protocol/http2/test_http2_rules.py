"""RFC 9113 by its sections: what an endpoint must do, refuse and ignore. Fields and states have files of their own."""

from __future__ import annotations

import struct

import pytest

from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import (
    DataReceived,
    GoawayReceived,
    PingAcknowledged,
    PriorityUpdated,
    RequestReceived,
    ResponseReceived,
    SessionFailed,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from allcomers.protocol.http2.frames import PREFACE, ErrorCode, Setting
from support import http2
from support.http2 import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    HELLO,
    PADDED,
    POST,
    PRIORITIZED,
    block,
    exchange,
    frame,
    headers,
    setting,
)

OK = blocks.status_block(200)


def fails(data: bytes, code: ErrorCode, *, started: bool = True) -> None:
    """Check that these bytes end a server's connection: whole, and one by one; and that nothing is done after that."""
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        session = http2.server(started=started)
        events = [event for piece in pieces for event in session.receive(piece, 0.0)]
        assert isinstance(events[-1], SessionFailed)
        assert events[-1].code == code
        sent = http2.parse(session.output())
        assert [each.code for each in sent if each.kind == http2.GOAWAY] == [code]
        assert exchange(session, headers(101)) == ([], [])
        assert (session.room(1), session.streams) == (0, {})
        session.respond(1, OK)
        session.send(1, b"x")
        assert session.output() == b""


# ---------------------------------------------------------------- 3.4 the preface


def test_preface() -> None:
    session = http2.server(started=False)
    found = exchange(session, HELLO)
    assert found.events == []
    assert [(each.kind, each.flags) for each in found.frames] == [(http2.SETTINGS, ACK)]
    whole = http2.server(started=False)
    assert whole.receive(PREFACE[:5], 0.0) == []
    assert whole.is_partial
    assert exchange(whole, PREFACE[5:] + setting() + headers(1)).only(RequestReceived)
    assert not whole.is_partial


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"\r\n" + PREFACE, PREFACE.lower()])
def test_no_preface(data: bytes) -> None:
    fails(data, ErrorCode.PROTOCOL_ERROR, started=False)


FIRST = [headers(1), frame(http2.PING, 0, 0, bytes(8)), frame(http2.SETTINGS, ACK, 0), frame(99, 0, 0)]


@pytest.mark.parametrize("first", FIRST)
def test_settings_come_first(first: bytes) -> None:
    fails(PREFACE + first, ErrorCode.PROTOCOL_ERROR, started=False)


def test_what_each_end_begins_with() -> None:
    session = http2.Session(is_server=True, limits=http2.Limits(max_head=1000), connect=True)
    settings, update = http2.parse(session.output())
    values = dict(struct.iter_unpack(">HI", settings.payload))
    assert values == {
        Setting.MAX_CONCURRENT_STREAMS: 128,
        Setting.INITIAL_WINDOW_SIZE: 256 * 1024,
        Setting.MAX_HEADER_LIST_SIZE: 1000,
        Setting.NO_RFC7540_PRIORITIES: 1,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
    }
    assert (update.kind, update.stream, update.payload) == (8, 0, struct.pack(">I", 1024 * 1024 - 65535))
    data = http2.Session(is_server=False, limits=http2.Limits()).output()
    assert data.startswith(PREFACE)
    assert dict(struct.iter_unpack(">HI", http2.parse(data[len(PREFACE) :])[0].payload))[Setting.ENABLE_PUSH] == 0


# ---------------------------------------------------------------- 4 frames


@pytest.mark.parametrize("kind", range(10))
def test_frames_that_are_too_large(kind: int) -> None:
    fails(struct.pack(">I", 16385)[1:] + struct.pack(">BBI", kind, 0, 1), ErrorCode.FRAME_SIZE_ERROR)


def test_a_frame_of_the_greatest_size() -> None:
    session = http2.server()
    found = exchange(session, headers(1, POST, END_HEADERS) + frame(http2.DATA, 0, 1, bytes(16384)))
    assert len(found.only(DataReceived).data) == 16384


def test_reserved_bits_and_unknown_flags_are_ignored() -> None:
    """RFC 9113, 4.1: also the first bit of the stream's number."""
    data = frame(http2.HEADERS, 0xFF & ~PADDED & ~PRIORITIZED, 1 | 1 << 31, block(GET))
    assert exchange(http2.server(), data).only(RequestReceived).stream == 1
    found = exchange(http2.server(), frame(http2.PING, 0xFE, 0, b"12345678"))
    assert [(each.kind, each.flags, each.payload) for each in found.frames] == [(http2.PING, ACK, b"12345678")]


def test_broken_compression() -> None:
    fails(frame(http2.HEADERS, END_HEADERS, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR)
    fails(headers(1, POST, END_HEADERS) + frame(http2.HEADERS, 5, 1, b"\xff"), ErrorCode.COMPRESSION_ERROR)


# ---------------------------------------------------------------- 5.1.1, 5.1.2 streams


def test_numbers_of_streams_grow() -> None:
    fails(headers(5) + headers(3), ErrorCode.PROTOCOL_ERROR)
    fails(headers(2), ErrorCode.PROTOCOL_ERROR)
    session = http2.server()
    for stream in (1, 2**31 - 1):
        assert exchange(session, headers(stream)).only(RequestReceived).stream == stream


def test_streams_at_once() -> None:
    session = http2.server(http2={"max_streams": 2})
    exchange(session, headers(1) + headers(3))
    assert exchange(session, headers(5)) == ([], [http2.Frame(http2.RST_STREAM, 0, 5, struct.pack(">I", 7))])
    session.answer(1, OK, b"")
    assert exchange(session, headers(7)).only(RequestReceived).stream == 7
    session.reset(7)
    session.lingering = 1  # its call runs on
    assert exchange(session, headers(9)).error == (9, ErrorCode.REFUSED_STREAM)
    session.lingering = 0
    assert exchange(session, headers(11)).only(RequestReceived).stream == 11


def test_a_refused_head_changes_the_table_all_the_same() -> None:
    """RFC 9113, 4.3: compression goes on, whatever becomes of the stream."""
    import hpack

    encoder = hpack.Encoder()
    session = http2.server(http2={"max_streams": 1})
    head = [*GET, ("x", "y")]
    exchange(session, frame(http2.HEADERS, 5, 1, encoder.encode(head)))
    assert exchange(session, frame(http2.HEADERS, 5, 3, encoder.encode([*head, ("a", "b")]))).error == (3, 7)
    session.answer(1, OK, b"")
    event = exchange(session, frame(http2.HEADERS, 5, 5, encoder.encode([*head, ("a", "b")]))).only(RequestReceived)
    assert event.head.request().headers["a"] == "b"
    session.goaway()
    exchange(session, frame(http2.HEADERS, 5, 7, encoder.encode([*head, ("c", "d")])))
    assert session.reader.fields(encoder.encode([("c", "d")])) == [(b"c", b"d")]


# ---------------------------------------------------------------- 5.2, 6.9 windows


def test_windows_of_what_is_sent() -> None:
    session = http2.server(started=False)
    exchange(session, PREFACE + setting((Setting.INITIAL_WINDOW_SIZE, 3)) + headers(1) + headers(3))
    assert (session.room(1), session.room(99), session.send_window) == (3, 0, 65535)
    assert not session.answer(1, OK, b"1234")
    assert not session.output()
    session.respond(1, OK)
    session.send(1, b"12")
    with pytest.raises(ValueError):
        session.send(1, b"34")
    exchange(session, setting((Setting.INITIAL_WINDOW_SIZE, 1)))  # 6.9.2: the window is negative now
    assert session.room(1) == 0
    assert exchange(session, http2.window(1, 1)).events == [WindowOpened(1)]
    assert session.room(1) == 0
    found = exchange(session, setting((Setting.INITIAL_WINDOW_SIZE, 4)))
    assert found.events == [WindowOpened(0)]
    assert session.room(1) == 3
    session.output()
    session.send(1, bytes(3), end=True)
    assert session.output() == frame(http2.DATA, END_STREAM, 1, bytes(3))
    assert session.room(1) == 0
    assert not session.streams.get(1)
    assert session.room(3) == 4
    session.send_window = 2
    assert session.room(3) == 2
    exchange(session, http2.window(0, 1))
    assert session.room(3) == 3


def test_windows_beyond_the_greatest() -> None:
    fails(http2.window(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR)
    fails(setting((Setting.INITIAL_WINDOW_SIZE, 2**31)), ErrorCode.FLOW_CONTROL_ERROR)
    session = http2.server()
    exchange(session, headers(1))
    assert exchange(session, http2.window(1, 2**31 - 1)).error == (1, ErrorCode.FLOW_CONTROL_ERROR)
    data = headers(1) + http2.window(1, 2**31 - 65536) + setting((Setting.INITIAL_WINDOW_SIZE, 65536))
    fails(data, ErrorCode.FLOW_CONTROL_ERROR)
    data = headers(1) + http2.window(1, 2**31 - 65536) + setting((Setting.INITIAL_WINDOW_SIZE, 65535))
    assert exchange(http2.server(), data).error is None


def test_windows_of_what_comes() -> None:
    """DATA counts with its padding, and the windows open in steps of half of them, as it is consumed."""
    session = http2.server(http2={"stream_window": 65535, "connection_window": 65535})
    piece = frame(http2.DATA, PADDED, 1, b"\x0a" + bytes(16000) + bytes(10))
    found = exchange(session, headers(1, POST, END_HEADERS) + piece * 3)
    assert [len(event.data) for event in found.events if isinstance(event, DataReceived)] == [16000] * 3
    assert found.frames == []
    session.consumed(1, 33000)
    updates = [http2.Frame(http2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 33033)) for stream in (0, 1)]
    assert sorted(http2.parse(session.output())) == updates
    assert exchange(session, piece * 3).error is None
    assert exchange(session, piece).events[-1] == SessionFailed(3, "more DATA than the connection's window")


def test_frames_of_a_body_that_come_together_are_a_piece() -> None:
    """Up to the frame that ends it, is of another stream, has a flag, or breaks a bound."""
    session = http2.server()
    post = headers(1, POST, END_HEADERS) + headers(3, POST, END_HEADERS)
    data = [frame(http2.DATA, flags, stream, b"%d" % at) for at, (flags, stream) in enumerate([(0, 1)] * 4)]
    data += [frame(http2.DATA, 0, 3, b"4"), frame(http2.DATA, PADDED, 3, b"\0005"), frame(http2.DATA, 0, 3, b"6")]
    data += [
        frame(http2.DATA, 0, 3, b""),
        frame(http2.DATA, END_STREAM, 3, b"7"),
        frame(http2.DATA, END_STREAM, 1, b"8"),
    ]
    found = [event for event in exchange(session, post + b"".join(data)).events if isinstance(event, DataReceived)]
    assert [(event.stream, event.data, event.complete) for event in found] == [
        *((1, b"0123", False), (3, b"4", False), (3, b"5", False), (3, b"6", False), (3, b"", False)),
        *((3, b"7", True), (1, b"8", True)),
    ]
    whole = frame(http2.DATA, 0, 5, bytes(16384))
    found = exchange(session, headers(5, POST, END_HEADERS) + whole * 17).events
    assert isinstance(found[1], DataReceived)
    assert len(found[1].data) == 256 * 1024
    assert isinstance(found[2], StreamReset)


def test_more_than_a_streams_window() -> None:
    session = http2.server(http2={"stream_window": 10})
    assert exchange(session, headers(1, POST, END_HEADERS) + frame(http2.DATA, 0, 1, bytes(11))).error == (1, 3)
    assert exchange(session, frame(http2.DATA, 0, 1, bytes(11))).error is None  # it has crossed our RST_STREAM


def test_a_small_window_holds_once_it_is_known() -> None:
    session = http2.server(started=False, http2={"stream_window": 10})
    data = HELLO + headers(1, POST, END_HEADERS) + frame(http2.DATA, 0, 1, bytes(1000))
    assert exchange(session, data).error is None
    assert exchange(session, frame(http2.SETTINGS, ACK, 0) + frame(http2.DATA, 0, 1, b"x")).error == (1, 3)
    assert exchange(session, headers(3, POST, END_HEADERS) + frame(http2.DATA, 0, 3, bytes(11))).error == (3, 3)


def test_a_body_may_end_where_its_window_is_negative() -> None:
    """RFC 9113, 6.9.1 and 6.9.2."""
    session = http2.server(started=False, http2={"stream_window": 10})
    exchange(session, HELLO + headers(1, POST, END_HEADERS) + frame(http2.DATA, 0, 1, bytes(1000)))
    data = frame(http2.SETTINGS, ACK, 0) + frame(http2.DATA, END_STREAM, 1)
    assert exchange(session, data).only(DataReceived) == DataReceived(1, b"", True)


def test_a_stream_may_stay_shut_while_the_connection_opens() -> None:
    session = http2.server(http2={"stream_window": 65535, "connection_window": 65535})
    exchange(session, headers(1, POST, END_HEADERS) + frame(http2.DATA, 0, 1, bytes(16384)) * 3)
    session.consumed(1, 3 * 16384, shut=True)
    assert [(each.kind, each.stream) for each in http2.parse(session.output())] == [(http2.WINDOW_UPDATE, 0)]
    session.reopen(1, 3 * 16384)
    assert [(each.kind, each.stream) for each in http2.parse(session.output())] == [(http2.WINDOW_UPDATE, 1)]


@pytest.mark.parametrize("end", ["reset here", "reset there", "answered"])
def test_what_nobody_consumed_goes_back(end: str) -> None:
    """A stream that ends leaves the connection's window as if its body had been consumed; also what comes later."""
    session = http2.server(http2={"stream_window": 65535, "connection_window": 65535})
    last = END_STREAM if end == "answered" else 0
    exchange(session, headers(1, POST, END_HEADERS) + frame(http2.DATA, last, 1, bytes(16384)))
    if end == "answered":
        session.answer(1, OK, b"")
    elif end == "reset here":
        session.reset(1)
        exchange(session, frame(http2.DATA, 0, 1, bytes(10)))
    else:
        exchange(session, http2.reset(1))
    assert session.receive_window + session.returned == 65535


def test_a_body_that_is_whole_opens_no_window_of_its_stream() -> None:
    session = http2.server(http2={"stream_window": 10})
    exchange(session, headers(1, POST, END_HEADERS) + frame(http2.DATA, END_STREAM, 1, bytes(10)))
    session.consumed(1, 10)
    assert session.output() == b""


# ---------------------------------------------------------------- 6.1, 6.2 DATA, HEADERS and their padding


def test_padding() -> None:
    data = frame(http2.HEADERS, END_HEADERS | PADDED, 1, b"\x03" + block(POST) + bytes(3))
    data += frame(http2.DATA, PADDED | END_STREAM, 1, b"\x04" + b"hi" + bytes(4))
    found = exchange(http2.server(), data)
    assert found.only(DataReceived) == DataReceived(1, b"hi", True)
    data = frame(http2.HEADERS, 5 | PADDED | PRIORITIZED, 1, b"\x03" + bytes(5) + block(GET) + bytes(3))
    assert exchange(http2.server(), data).only(RequestReceived).complete


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abcd"])
def test_padding_that_is_too_long(payload: bytes) -> None:
    fails(headers(1, POST, END_HEADERS) + frame(http2.DATA, PADDED, 1, payload), ErrorCode.PROTOCOL_ERROR)
    fails(frame(http2.HEADERS, PADDED | END_HEADERS, 1, payload), ErrorCode.PROTOCOL_ERROR)


def test_priority_in_headers() -> None:
    fails(frame(http2.HEADERS, PRIORITIZED | END_HEADERS, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR)
    fails(frame(http2.HEADERS, PRIORITIZED | 5, 3, struct.pack(">IB", 3, 0) + block(GET)), ErrorCode.PROTOCOL_ERROR)
    data = frame(http2.HEADERS, PRIORITIZED | 5, 3, struct.pack(">IB", 1, 0) + block(GET))
    assert exchange(http2.server(), data).only(RequestReceived).stream == 3


# ---------------------------------------------------------------- 6.4, 6.5, 6.7, 6.8


def test_a_reset() -> None:
    session = http2.server()
    exchange(session, headers(1))
    event = exchange(session, http2.reset(1, 0xABCD)).only(StreamReset)
    assert (event.stream, event.code, event.remote) == (1, 0xABCD, True)
    assert not session.is_open(1)


@pytest.mark.parametrize(
    ("setting_", "value", "code"),
    [
        (Setting.ENABLE_PUSH, 2, ErrorCode.PROTOCOL_ERROR),
        (Setting.INITIAL_WINDOW_SIZE, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (Setting.MAX_FRAME_SIZE, 16383, ErrorCode.PROTOCOL_ERROR),
        (Setting.MAX_FRAME_SIZE, 2**24, ErrorCode.PROTOCOL_ERROR),
        (Setting.ENABLE_CONNECT_PROTOCOL, 2, ErrorCode.PROTOCOL_ERROR),
        (Setting.NO_RFC7540_PRIORITIES, 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_that_none_may_have(setting_: int, value: int, code: ErrorCode) -> None:
    fails(setting((setting_, value)), code)


def test_settings() -> None:
    fails(frame(http2.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR)
    fails(frame(http2.SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR)
    session = http2.server()
    found = exchange(session, setting((0xFF, 1), (Setting.MAX_FRAME_SIZE, 2**24 - 1), (Setting.ENABLE_PUSH, 1)))
    assert found == ([], [http2.Frame(http2.SETTINGS, ACK, 0, b"")])
    assert session.max_frame == 2**24 - 1
    assert exchange(http2.client(), setting((Setting.ENABLE_PUSH, 1))).error == (0, ErrorCode.PROTOCOL_ERROR)


def test_frames_are_as_large_as_the_peer_takes() -> None:
    session = http2.server(started=False)
    exchange(session, PREFACE + setting((Setting.INITIAL_WINDOW_SIZE, 10**6)) + http2.window(0, 10**6) + headers(1))
    head = OK + blocks.field_block("x", "y" * 40_000)
    session.respond(1, head)
    session.send(1, bytes(40_000), end=True)
    sent = http2.parse(session.output())
    kinds = [(each.kind, each.flags, len(each.payload)) for each in sent]
    assert kinds == [
        *(
            (http2.HEADERS, 0, 16384),
            (http2.CONTINUATION, 0, 16384),
            (http2.CONTINUATION, END_HEADERS, len(head) - 2 * 16384),
        ),
        *((http2.DATA, 0, 16375), (http2.DATA, 0, 16375), (http2.DATA, END_STREAM, 40_000 - 2 * 16375)),
    ]


def test_a_smaller_table_is_told_once() -> None:
    """RFC 9113, 4.3.1: the peer has reduced what we never used; RFC 7541, 4.2: it must hear of that."""
    import hpack

    session = http2.server(started=False)
    exchange(session, PREFACE + setting((Setting.HEADER_TABLE_SIZE, 100)) + headers(1) + headers(3))
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 100
    assert not session.answer(1, OK, b"")
    session.respond(1, OK, end=True)
    assert session.answer(3, OK, b"")
    first, second = http2.parse(session.output())
    assert first.payload == b"\x20" + OK
    assert second.payload == OK
    assert [decoder.decode(sent.payload) for sent in (first, second)] == [[(":status", "200")]] * 2


def test_ping() -> None:
    fails(frame(http2.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR)
    session = http2.server()
    session.ping(b"12345678")
    assert http2.parse(session.output()) == [http2.Frame(http2.PING, 0, 0, b"12345678")]
    assert exchange(session, frame(http2.PING, ACK, 0, b"12345678")) == ([PingAcknowledged(b"12345678")], [])


def test_goaway_twice() -> None:
    session = http2.server()
    exchange(session, headers(1) + headers(3, POST, END_HEADERS))
    session.notice()
    assert http2.parse(session.output()) == [http2.Frame(http2.GOAWAY, 0, 0, struct.pack(">II", 2**31 - 1, 0))]
    assert not session.is_drained
    exchange(session, headers(5))
    session.goaway()
    assert http2.parse(session.output()) == [http2.Frame(http2.GOAWAY, 0, 0, struct.pack(">II", 5, 0))]
    late = headers(7, POST, END_HEADERS) + frame(http2.DATA, 0, 7, b"x") + http2.window(7, 1) + http2.reset(7)
    assert exchange(session, late + headers(9)) == ([], [])
    assert exchange(session, frame(http2.DATA, END_STREAM, 3, b"x")).only(DataReceived).complete
    for stream in (1, 3, 5):
        assert not session.is_drained
        assert session.answer(stream, OK, b"x")
    assert session.is_drained
    session.goaway()
    assert http2.parse(session.output())[-1].payload == struct.pack(">II", 5, 0)


def test_the_peer_leaves() -> None:
    fails(frame(http2.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR)
    session = http2.server()
    exchange(session, headers(1))
    found = exchange(session, frame(http2.GOAWAY, 0, 0, struct.pack(">II", 0, 0xABCD) + b"why"))
    assert found == ([GoawayReceived(0, 0xABCD)], [])
    assert not session.is_drained
    session.answer(1, OK, b"")
    assert session.is_drained


def test_the_server_leaves() -> None:
    session = http2.client()
    head = blocks.request_block("GET", "http", "a", "/")
    first, second = session.request(head, end=True), session.request(head, end=True)
    found = exchange(session, frame(http2.GOAWAY, 0, 0, struct.pack(">II", first, 0)))
    assert found.events[0] == GoawayReceived(first, 0)
    assert [(event.stream, event.code) for event in found.events[1:]] == [(second, ErrorCode.REFUSED_STREAM)]
    assert session.places == 0
    with pytest.raises(ValueError):
        session.request(head)
    assert exchange(session, headers(first, [(":status", "200")])).only(ResponseReceived).complete
    assert session.is_drained


def test_places_of_a_client() -> None:
    session = http2.client()
    assert session.places > 10**6
    exchange(session, setting((Setting.MAX_CONCURRENT_STREAMS, 1)))
    stream = session.request(blocks.request_block("GET", "http", "a", "/"), end=True)
    assert session.places == 0
    exchange(session, headers(stream, [(":status", "204")]))
    assert session.places == 1


# ---------------------------------------------------------------- 6.10 CONTINUATION

FRAGMENTS = [block(GET)[:2], b"", block(GET)[2:7], block(GET)[7:]]
CONTINUED = b"".join(
    frame(
        http2.CONTINUATION if place else http2.HEADERS, END_HEADERS * (place == 3) | END_STREAM * (not place), 1, part
    )
    for place, part in enumerate(FRAGMENTS)
)


def test_a_head_in_fragments() -> None:
    session = http2.server()
    assert session.receive(CONTINUED[:24], 0.0) == []
    assert session.is_partial
    assert session.buffered == 24 - 2 * 9
    assert exchange(session, CONTINUED[24:]).only(RequestReceived).complete
    assert session.buffered == 0
    session = http2.server()
    exchange(session, headers(1, POST, END_HEADERS))
    data = frame(http2.HEADERS, END_STREAM, 1, block([("x", "y")])) + frame(http2.CONTINUATION, END_HEADERS, 1)
    assert exchange(session, data).only(TrailersReceived).fields == [(b"x", b"y")]


@pytest.mark.parametrize(
    "between",
    [
        frame(http2.DATA, 0, 1),
        headers(3),
        frame(http2.PING, 0, 0, bytes(8)),
        frame(0xFA, 0, 0),
        frame(9, 4, 3),
        setting(),
    ],
)
def test_nothing_comes_between_fragments(between: bytes) -> None:
    fails(frame(http2.HEADERS, 0, 1, block(GET)) + between, ErrorCode.PROTOCOL_ERROR)


def test_a_continuation_after_the_end() -> None:
    fails(CONTINUED + frame(http2.CONTINUATION, END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR)


# ---------------------------------------------------------------- RFC 9218


def test_priority_updates() -> None:
    session = http2.server(http2={"max_streams": 2})

    def update(stream: int, value: bytes) -> bytes:
        return frame(http2.PRIORITY_UPDATE, 0, 0, struct.pack(">I", stream) + value)

    assert (
        exchange(session, update(1, b"u=0") + update(1, b"u=1,i") + update(3, b"u=7") + update(5, b"u=0")).events == []
    )
    assert exchange(session, headers(1)).events[1:] == [PriorityUpdated(1, 1, True)]
    assert exchange(session, update(1, b"u=x")).events == [PriorityUpdated(1, 3, False)]
    session.answer(1, OK, b"")
    assert exchange(session, headers(3)).events[1:] == [PriorityUpdated(3, 7, False)]
    assert len(exchange(session, headers(5)).events) == 1  # more than may be kept
    fails(frame(http2.PRIORITY_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR)
    fails(update(0, b""), ErrorCode.PROTOCOL_ERROR)


# ---------------------------------------------------------------- the order of verbs


def test_verbs_out_of_order() -> None:
    session = http2.server()
    exchange(session, headers(1) + headers(3, POST, END_HEADERS))
    for verb in (lambda: session.send(1, b"x"), lambda: session.trailers(1, b"")):
        with pytest.raises(ValueError):
            verb()
    session.inform(1, blocks.status_block(103))
    session.respond(1, OK)
    for verb in (lambda: session.respond(1, OK), lambda: session.answer(1, OK, b"")):
        with pytest.raises(ValueError):
            verb()
    session.trailers(1, blocks.field_block("x", "y"))
    session.respond(3, OK, end=True)
    assert session.room(3) == 0
    with pytest.raises(ValueError):
        session.send(3, b"x")
    sent = http2.parse(session.output())
    assert [(each.kind, each.flags, each.stream) for each in sent] == [(1, 4, 1), (1, 4, 1), (1, 5, 1), (1, 5, 3)]
    assert list(session.streams) == [3]
    session.reset(3)
    session.reset(3)
    assert [each.code for each in http2.parse(session.output())] == [ErrorCode.NO_ERROR]
