"""Every type of frame in every state of its stream (RFC 9113, 5.1), at a server and at a client."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.http2.session import Session
from support import http2
from support.http2 import END_HEADERS, END_STREAM, GET, POST, block, exchange, frame, headers

OK = blocks.status_block(200)

FRAMES: dict[str, Callable[[int], bytes]] = {
    "DATA": lambda stream: frame(http2.DATA, 0, stream, b"x"),
    "DATA, the last": lambda stream: frame(http2.DATA, END_STREAM, stream, b"x"),
    "HEADERS": lambda stream: headers(stream, POST, END_HEADERS),
    "HEADERS, the last": headers,
    "trailers": lambda stream: headers(stream, [("x", "y")]),
    "a response": lambda stream: headers(stream, [(":status", "200")], END_HEADERS),
    "PRIORITY": lambda stream: frame(http2.PRIORITY, 0, stream, bytes(5)),
    "PRIORITY of itself": lambda stream: frame(http2.PRIORITY, 0, stream, struct.pack(">IB", stream, 0)),
    "PRIORITY of 4 bytes": lambda stream: frame(http2.PRIORITY, 0, stream, bytes(4)),
    "RST_STREAM": http2.reset,
    "RST_STREAM of 3 bytes": lambda stream: frame(http2.RST_STREAM, 0, stream, bytes(3)),
    "SETTINGS": lambda stream: frame(http2.SETTINGS, 0, stream),
    "PUSH_PROMISE": lambda stream: frame(http2.PUSH_PROMISE, END_HEADERS, stream, bytes(4) + block(GET)),
    "PING": lambda stream: frame(http2.PING, 0, stream, bytes(8)),
    "GOAWAY": lambda stream: frame(http2.GOAWAY, 0, stream, bytes(8)),
    "WINDOW_UPDATE": lambda stream: http2.window(stream, 1),
    "WINDOW_UPDATE of 0": lambda stream: http2.window(stream, 0),
    "WINDOW_UPDATE of 5 bytes": lambda stream: frame(http2.WINDOW_UPDATE, 0, stream, bytes(5)),
    "CONTINUATION": lambda stream: frame(http2.CONTINUATION, END_HEADERS, stream, block(GET)),
    "PRIORITY_UPDATE": lambda stream: frame(http2.PRIORITY_UPDATE, 0, 0, struct.pack(">I", stream) + b"u=1"),
    "unknown": lambda stream: frame(0xFA, 0xFF, stream, b"x"),
}


def _opened(session: Session) -> None:
    exchange(session, headers(5, POST, END_HEADERS))


def _half_closed_local(session: Session) -> None:
    _opened(session)
    session.respond(5, OK, end=True)


def _half_closed_remote(session: Session) -> None:
    exchange(session, headers(5))


def _closed(session: Session) -> None:
    _half_closed_remote(session)
    session.respond(5, OK, end=True)


def _reset_by_peer(session: Session) -> None:
    _opened(session)
    exchange(session, http2.reset(5))


def _reset_by_us(session: Session) -> None:
    _opened(session)
    session.reset(5, ErrorCode.CANCEL)


def _skipped(session: Session) -> None:
    exchange(session, headers(7))


def _after_goaway(session: Session) -> None:
    session.goaway()


SERVER_STATES: dict[str, Callable[[Session], None]] = {
    "idle": lambda session: None,
    "open": _opened,
    "ended here": _half_closed_local,
    "ended there": _half_closed_remote,
    "closed": _closed,
    "reset there": _reset_by_peer,
    "reset here": _reset_by_us,
    "skipped": _skipped,
    "after GOAWAY": _after_goaway,
}

# An event's name; "-" for nothing at all; s: and c: for a stream's and the connection's error.
PROTOCOL, CLOSED, SIZE = "c:PROTOCOL_ERROR", "c:STREAM_CLOSED", "c:FRAME_SIZE_ERROR"
S_PROTOCOL, S_CLOSED = "s:PROTOCOL_ERROR", "s:STREAM_CLOSED"
EVERYWHERE = {
    "PRIORITY": "-",
    "PRIORITY of itself": PROTOCOL,
    "PRIORITY of 4 bytes": SIZE,
    "RST_STREAM of 3 bytes": SIZE,
    "SETTINGS": PROTOCOL,
    "PUSH_PROMISE": PROTOCOL,
    "PING": PROTOCOL,
    "GOAWAY": PROTOCOL,
    "WINDOW_UPDATE of 5 bytes": SIZE,
    "CONTINUATION": PROTOCOL,
    "unknown": "-",
}

SERVER = {
    #                     idle, open, ended here, ended there, closed, reset there, reset here, skipped, after GOAWAY
    "DATA": [PROTOCOL, "DataReceived", "DataReceived", S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, PROTOCOL],
    "DATA, the last": [PROTOCOL, "DataReceived", "DataReceived", S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, PROTOCOL],
    "HEADERS": ["RequestReceived", S_PROTOCOL, S_PROTOCOL, S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, "-"],
    "HEADERS, the last": ["RequestReceived", S_PROTOCOL, S_PROTOCOL, S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, "-"],
    "trailers": [S_PROTOCOL, "TrailersReceived", "TrailersReceived", S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, "-"],
    "a response": [S_PROTOCOL, S_PROTOCOL, S_PROTOCOL, S_CLOSED, CLOSED, S_CLOSED, "-", PROTOCOL, "-"],
    "RST_STREAM": [PROTOCOL, "StreamReset", "StreamReset", "StreamReset", "-", "-", "-", PROTOCOL, PROTOCOL],
    "WINDOW_UPDATE": [PROTOCOL, "WindowOpened", "WindowOpened", "WindowOpened", "-", "-", "-", PROTOCOL, PROTOCOL],
    "WINDOW_UPDATE of 0": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, S_PROTOCOL, "-", "-", "-", PROTOCOL, PROTOCOL],
    "PRIORITY_UPDATE": ["-", *["PriorityUpdated"] * 3, *["-"] * 5],
    **{name: [outcome] * 9 for name, outcome in EVERYWHERE.items()},
}


def outcome(session: Session, data: bytes) -> str:
    """Return what a frame does: the event, or the error."""
    events, sent = exchange(session, data)
    names = [type(event).__name__ for event in events]
    errors = [(answer.kind, answer.code) for answer in sent if answer.kind in (http2.RST_STREAM, http2.GOAWAY)]
    if errors:
        ((kind, code),) = errors
        assert names in ([], ["StreamReset" if kind == http2.RST_STREAM else "SessionFailed"])
        return f"{'s' if kind == http2.RST_STREAM else 'c'}:{ErrorCode(code).name}"
    assert not sent
    return names[0] if names else "-"


def test_the_tables_are_whole() -> None:
    assert SERVER.keys() == CLIENT.keys() == FRAMES.keys()
    assert {len(row) for row in SERVER.values()} == {len(SERVER_STATES)}
    assert {len(row) for row in CLIENT.values()} == {len(CLIENT_STATES)}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("state", SERVER_STATES)
def test_a_frame_in_a_state_at_a_server(name: str, state: str) -> None:
    session = http2.server()
    SERVER_STATES[state](session)
    session.output()
    assert outcome(session, FRAMES[name](5)) == SERVER[name][list(SERVER_STATES).index(state)]


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_on_a_stream_of_the_server(name: str) -> None:
    """Nobody pushes, so all even streams are idle for ever."""
    ok = ("-", PROTOCOL, SIZE)
    assert outcome(http2.server(), FRAMES[name](2)) in ok
    assert (outcome(http2.server(), FRAMES[name](2)) == "-") == (name in ("PRIORITY", "unknown"))


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_on_the_connection(name: str) -> None:
    """Frames of streams on stream 0 (RFC 9113, 6)."""
    allowed = {"GOAWAY": "GoawayReceived", "WINDOW_UPDATE": "WindowOpened", "unknown": "-"}
    if name in ("SETTINGS", "PING"):
        assert exchange(http2.server(), FRAMES[name](0)).error is None
    else:
        size = SIZE if name in ("WINDOW_UPDATE of 5 bytes", "RST_STREAM of 3 bytes") else PROTOCOL
        assert outcome(http2.server(), FRAMES[name](0)) == allowed.get(name, size)


# ---------------------------------------------------------------- at a client

_REQUEST = blocks.request_block("POST", "http", "a", "/")


def _requested(session: Session) -> None:
    while session.request(_REQUEST) < 5:
        session.reset(session.table.last)


def _responded(session: Session) -> None:
    _requested(session)
    exchange(session, headers(5, [(":status", "200")], END_HEADERS))


def _requested_whole(session: Session) -> None:
    _requested(session)
    session.send(5, b"", end=True)


def _closed_at_client(session: Session) -> None:
    _requested_whole(session)
    exchange(session, headers(5, [(":status", "200")]))


def _reset_by_server(session: Session) -> None:
    _requested(session)
    exchange(session, http2.reset(5))


def _reset_by_client(session: Session) -> None:
    _requested(session)
    session.reset(5, ErrorCode.CANCEL)


CLIENT_STATES: dict[str, Callable[[Session], None]] = {
    "idle": lambda session: None,
    "requested": _requested,
    "requested whole": _requested_whole,
    "responded": _responded,
    "closed": _closed_at_client,
    "reset there": _reset_by_server,
    "reset here": _reset_by_client,
}

CLIENT = {
    #           idle, requested, requested whole, responded, closed, reset there, reset here
    "DATA": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, "DataReceived", CLOSED, S_CLOSED, "-"],
    "DATA, the last": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, "DataReceived", CLOSED, S_CLOSED, "-"],
    "HEADERS": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, S_PROTOCOL, CLOSED, S_CLOSED, "-"],
    "HEADERS, the last": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, S_PROTOCOL, CLOSED, S_CLOSED, "-"],
    "trailers": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, "TrailersReceived", CLOSED, S_CLOSED, "-"],
    "a response": [PROTOCOL, "ResponseReceived", "ResponseReceived", S_PROTOCOL, CLOSED, S_CLOSED, "-"],
    "RST_STREAM": [PROTOCOL, "StreamReset", "StreamReset", "StreamReset", "-", "-", "-"],
    "WINDOW_UPDATE": [PROTOCOL, "WindowOpened", "WindowOpened", "WindowOpened", "-", "-", "-"],
    "WINDOW_UPDATE of 0": [PROTOCOL, S_PROTOCOL, S_PROTOCOL, S_PROTOCOL, "-", "-", "-"],
    "PRIORITY_UPDATE": [PROTOCOL] * 7,
    **{name: [outcome] * 7 for name, outcome in EVERYWHERE.items()},
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("state", CLIENT_STATES)
def test_a_frame_in_a_state_at_a_client(name: str, state: str) -> None:
    session = http2.client()
    CLIENT_STATES[state](session)
    session.output()
    assert outcome(session, FRAMES[name](5)) == CLIENT[name][list(CLIENT_STATES).index(state)]
