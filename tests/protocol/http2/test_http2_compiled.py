"""The compiled leaf of HTTP/2 does what plain Python does: the same events, bytes and state, however frames come."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.protocol import compiled
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import RequestReceived
from support import http2
from support.builds import plain
from support.http2 import GET, HELLO, POST, block, frame, window

if not compiled.COMPILED:
    pytest.skip("the leaf is not compiled, or ALLCOMERS_PURE is set", allow_module_level=True)

from allcomers.protocol.http2 import _session as leaf

OK = blocks.status_block(200)

KNOWN = [block(GET), block([*GET, ("x", "y")]), block([*POST, ("content-length", "0")])]
UNKNOWN = [block([*POST, ("content-length", "1")]), b"\x40\x01a\x01b" + block(GET), block([(":x", "y")]), b"\x82"]
STEP = st.tuples(
    st.sampled_from([2, 2, 2, 2, 2, 4, 0, 1]),  # how far the next stream is
    st.sampled_from([0x05, 0x05, 0x05, 0x25, 0x04, 0x0D, 0x01]),
    st.sampled_from([*KNOWN, *KNOWN, *UNKNOWN]),
    st.sampled_from(["answer", "answer", "respond", "nothing", "reset", "window"]),
    st.sampled_from([b"", b"x", b"x" * 50, b"x" * 16385]),
)


def framed(flags: int, stream: int, fields: bytes) -> bytes:
    if flags & 0x20:
        fields = struct.pack(">IB", 0, 1) + fields
    if flags & 0x08:
        fields = b"\x01" + fields + b"\0"
    return frame(http2.HEADERS, flags, stream, fields)


def played(steps: list[tuple[int, int, bytes, str, bytes]], together: bool, first: dict[str, Any]) -> list[object]:
    """Return all that an observer sees of a session."""
    session = http2.server(started=False, http2={"max_streams": 5, **first})
    http2.exchange(session, HELLO + http2.setting((4, 100)) + http2.headers(1))
    session.answer(1, OK, b"x")
    seen: list[object] = []
    stream, data = 1, b""
    for step, flags, fields, verb, body in steps:
        stream += step
        data += framed(flags, stream, fields)
        if together and verb != "window":
            continue
        if verb == "window":
            data += window(stream, 1)
        events, data = session.receive(data, 0.0), b""
        for event in events:
            if isinstance(event, RequestReceived):
                request = event.head.request()
                shown = request.method, request.target, request.host, request.version, request.fields, request.named
                seen.append((event.stream, event.complete, shown, request.length, request.persists, request.expects))
            else:
                seen.append(event)
            if isinstance(event, RequestReceived) and session.is_open(event.stream):
                act(session, event.stream, verb, body, seen)
        seen.append((session.output(), state(session)))
    return seen


def act(session: http2.Session, stream: int, verb: str, body: bytes, seen: list[object]) -> None:
    if verb == "answer":
        seen.append(session.answer(stream, OK, body))
    elif verb == "respond":
        session.respond(stream, OK)
    elif verb == "reset":
        session.reset(stream)


def state(session: http2.Session) -> object:
    streams = {
        number: (found.sending, found.receiving, found.credit, found.window, found.held, found.returned, found.left)
        for number, found in session.streams.items()
    }
    return streams, session.table.last, session.send_window, session.data_frames, session.is_partial, session.phase


@given(st.lists(STEP, max_size=12), st.booleans(), st.sampled_from([{}, {"stream_window": 10}]))
def test_the_same_as_plain(
    steps: list[tuple[int, int, bytes, str, bytes]], together: bool, first: dict[str, Any]
) -> None:  # fmt: skip
    with plain():
        expected = played(steps, together, first)
    assert played(steps, together, first) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_requests_of_one_read(size: int) -> None:
    """Streams of known heads, cut anywhere."""
    session = http2.server()
    http2.exchange(session, http2.headers(1))
    data = b"".join(http2.headers(3 + 2 * count) for count in range(64))
    events = [event for at in range(0, len(data), size) for event in session.receive(data[at : at + size], 0.0)]
    assert [event.stream for event in events if isinstance(event, RequestReceived)] == list(range(3, 131, 2))
    heads = {id(event.head) for event in events if isinstance(event, RequestReceived)}
    assert len(heads) == 1


def test_arguments_of_a_wrong_kind() -> None:
    """A function checks what it gets, whoever calls it."""
    session = http2.server()
    for arguments in ((None, 0), (b"", None), ("", 0)):
        with pytest.raises(TypeError):
            leaf.read_requests(*arguments, 1, {}, session, [], RequestReceived, 1)  # type: ignore[arg-type]
    session.table.last = 1
    with pytest.raises(TypeError):
        leaf.read_requests(http2.headers(3), 0, 1, {block(GET): "x"}, session, [], RequestReceived, 1)
    assert leaf.read_requests(b"x" * 40, -1, 1, {}, session, [], RequestReceived, 1) == -1
    assert leaf.read_requests(b"x" * 40, 50, 1, {}, session, [], RequestReceived, 1) == 50
    assert not leaf.answer([], session, 1, b"", b"x")
    session.streams[1] = "x"  # type: ignore[assignment]
    assert not leaf.answer([], session, 1, b"", b"x")
