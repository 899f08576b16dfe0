"""The bounds of one peer: floods, bombs, and what may be left open (RFC 9113, 10.5)."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import hpack
import pytest

from allcomers.config.limits import Rate
from allcomers.protocol.fields import priority
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import RequestReceived, RequestRefused, ResponseReceived, SessionFailed
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.http2.session import Session
from support import http2
from support.http2 import END_HEADERS, END_STREAM, GET, POST, block, exchange, frame, headers

CALM = ErrorCode.ENHANCE_YOUR_CALM
OK = blocks.status_block(200)


def opened(count: int) -> bytes:
    """Open a stream before the first frame of a flood."""
    return b"" if count else headers(1, POST, END_HEADERS)


FLOODS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "resets (CVE-2023-44487)": ("resets", lambda n: headers(2 * n + 1) + http2.reset(2 * n + 1)),
    "streams that a fault resets (CVE-2025-8671)": (
        "faults",
        lambda n: headers(2 * n + 1) + http2.window(2 * n + 1, 0),
    ),
    "malformed requests": ("faults", lambda n: headers(2 * n + 1, [(":x", "y")])),
    "pings (CVE-2019-9512)": ("pings", lambda n: frame(http2.PING, 0, 0, bytes(8))),
    "settings (CVE-2019-9515)": ("settings", lambda n: http2.setting()),
    "priorities (CVE-2019-9513)": ("priorities", lambda n: frame(http2.PRIORITY, 0, 2 * n + 1, bytes(5))),
    "priority updates": ("priorities", lambda n: frame(http2.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 2 * n + 1))),
    "window updates": ("window_updates", lambda n: http2.window(0, 1)),
    "window updates of a stream": (
        "window_updates",
        lambda n: (headers(1, POST) if not n else b"") + http2.window(1, 1),
    ),
    "empty DATA (CVE-2019-9518)": (
        "empty_frames",
        lambda n: (headers(1, POST, END_HEADERS) if not n else b"") + frame(http2.DATA, 0, 1),
    ),
    "empty DATA with padding": (
        "empty_frames",
        lambda n: (headers(1, POST, END_HEADERS) if not n else b"") + frame(http2.DATA, http2.PADDED, 1, b"\x01\0"),
    ),
}


def run(session: Session, make: Callable[[int], bytes], times: range, step: float) -> int | None:
    """Send a frame of a flood every `step` seconds; return the number of the one that ends the connection."""
    for count in times:
        found = exchange(session, make(count), count * step)
        if found.events and isinstance(found.events[-1], SessionFailed):
            assert found.events[-1].code == CALM
            return count
    return None


@pytest.mark.parametrize("name", FLOODS)
def test_floods(name: str) -> None:
    """A burst is allowed, then so many a second."""
    rate, make = FLOODS[name]
    assert run(http2.server(http2={rate: Rate(10, 1.0)}), make, range(30), 0.0) == (9 if rate == "settings" else 10)
    assert run(http2.server(http2={rate: Rate(10, 1.0)}), make, range(100), 1.1) is None


def test_refused_streams_are_faults() -> None:
    session = http2.server(http2={"max_streams": 1, "faults": Rate(10, 1.0)})
    assert run(session, lambda count: headers(2 * count + 1), range(30), 0.0) == 11


def test_window_updates_are_paid_by_data() -> None:
    """A reader of a long body sends two for each frame at most."""
    session = http2.server(http2={"window_updates": Rate(10, 1.0)})
    exchange(session, headers(1))
    session.respond(1, OK)
    for _ in range(1000):
        session.send(1, b"x")
        assert exchange(session, http2.window(1, 1) + http2.window(0, 1)).error is None


def test_bursts_by_default() -> None:
    """What well-behaved clients do at once is no flood: a browser that leaves a page of 128 pictures."""
    session = http2.server()
    exchange(session, b"".join(headers(2 * count + 1) for count in range(128)))
    assert exchange(session, b"".join(http2.reset(2 * count + 1) for count in range(128))).error is None


# ---------------------------------------------------------------- heads


def test_continuations_are_bounded() -> None:
    """CVE-2024-27316 and its kin: a head without end."""
    start = frame(http2.HEADERS, END_STREAM, 1, block(GET))
    assert exchange(http2.server(), start + frame(http2.CONTINUATION, 0, 1) * 16).error is None
    assert exchange(http2.server(), start + frame(http2.CONTINUATION, 0, 1) * 17).error == (0, CALM)
    large = frame(http2.CONTINUATION, 0, 1, bytes(16384))
    assert exchange(http2.server(max_head=20_000), start + large * 2).error is None
    assert exchange(http2.server(max_head=20_000), start + large * 3).error == (0, CALM)


def test_one_byte_references() -> None:
    """16 KiB of references to a field of 4 KB mean 64 MB: neither made nor kept."""
    session = http2.server()
    encoder = hpack.Encoder()
    exchange(session, frame(http2.HEADERS, 5, 1, encoder.encode([*GET, ("x", "y" * 4000)], huffman=False)))
    tracemalloc.start()
    event = exchange(session, frame(http2.HEADERS, 5, 3, block(GET) + b"\xbe" * 16000)).only(RequestRefused)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert event.refusal.status == 431
    assert peak < 1_000_000


def test_cookie_crumbs() -> None:
    """Each crumb counts with 32 bytes of its own, as RFC 7541, 4.1 has it."""
    crumbs = [("cookie", "")] * 2000
    assert exchange(http2.server(), headers(1, [*GET, *crumbs[:800]])).only(RequestReceived)
    assert exchange(http2.server(), headers(1, [*GET, *crumbs])).only(RequestRefused).refusal.status == 431


def test_known_heads_are_bounded() -> None:
    """Blocks that come again are looked up; a peer that repeats none costs no more than so many."""
    session = http2.server()
    for count in range(500):
        exchange(session, headers(2 * count + 1, [*GET, ("x", str(count) + "y" * 900)]))
        session.answer(2 * count + 1, OK, b"")
        session.output()
        assert len(session.reader.known) <= 64
        assert sum(head.size for head in session.reader.known.values()) <= 16 * 1024


def test_a_known_head_is_known_until_the_table_changes() -> None:
    session, encoder = http2.server(), hpack.Encoder()

    def get(stream: int, fields: list[tuple[str, str]]) -> RequestReceived:
        event = exchange(session, frame(http2.HEADERS, 5, stream, encoder.encode(fields))).only(RequestReceived)
        session.answer(stream, OK, b"")
        assert isinstance(event, RequestReceived)
        return event

    first = get(1, [*GET, ("x", "1")])
    second, third = (get(stream, [*GET, ("x", "1")]) for stream in (3, 5))
    assert first.head is not second.head
    assert second.head is third.head
    assert second.head.request() is not third.head.request()
    get(7, [*GET, ("x", "2")])
    assert not session.reader.known
    again = get(9, [*GET, ("x", "1")])  # the same field, by another index
    assert again.head.request().headers["x"] == "1"
    encoder.header_table_size = 0
    get(11, [*GET, ("x", "1")])
    assert not session.reader.known


def test_a_known_response_is_known_until_the_table_changes() -> None:
    session, encoder = http2.client(), hpack.Encoder()
    request = blocks.request_block("GET", "http", "a", "/")

    def get(fields: list[tuple[str, str]]) -> ResponseReceived:
        stream = session.request(request, end=True)
        event = exchange(session, frame(http2.HEADERS, 5, stream, encoder.encode(fields))).only(ResponseReceived)
        assert isinstance(event, ResponseReceived)
        return event

    first, second, third = (get([(":status", "200"), ("x", "1")]) for _ in range(3))
    assert first.fields == second.fields == [(b"x", b"1")]
    assert second.fields is third.fields
    assert get([(":status", "200"), ("x", "2")]).fields == [(b"x", b"2")]
    assert not session.reader.responses
    for count in range(300):
        get([(":status", "200"), ("x", "1" if count % 2 else "2")])
        exchange(session, headers(session.request(request, end=True), [(":status", "200"), ("y", str(count))]))
        assert len(session.reader.responses) <= 64


def test_many_settings_in_one_frame_cost_little() -> None:
    """Each INITIAL_WINDOW_SIZE concerns all streams: 2,730 of them, 128 streams."""
    session = http2.server()
    exchange(session, b"".join(headers(2 * count + 1) for count in range(128)))
    exchange(session, http2.setting(*[(4, count) for count in range(2730)]))
    assert session.peer_window == 2729


# ---------------------------------------------------------------- memory of streams that are over


def test_what_is_remembered_is_bounded() -> None:
    session = http2.server(http2={"resets": Rate(10**6, 1.0), "faults": Rate(10**6, 1.0)})
    for count in range(1000):
        exchange(session, headers(4 * count + 1) + http2.reset(4 * count + 1))
    table = session.table
    assert len(table._resets) <= 256
    assert len(table._gaps) <= 16
    assert not session.streams


def test_output_is_taken_once() -> None:
    session = http2.server()
    assert not session.pending
    session.ping(bytes(8))
    assert session.pending
    assert session.output()
    assert (session.pending, session.output()) == (False, b"")


# ---------------------------------------------------------------- a frame byte by byte


def test_a_long_frame_byte_by_byte_is_read_in_linear_time() -> None:
    session = http2.server()
    exchange(session, headers(1, POST, END_HEADERS))
    data = frame(http2.DATA, END_STREAM, 1, bytes(16384))
    events = [event for at in range(len(data)) for event in session.receive(data[at : at + 1], 0.0)]
    assert len(events) == 1


# ---------------------------------------------------------------- the Priority field (RFC 9218, 4)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (b"", (3, False)),
        (b"u=0", (0, False)),
        (b"u=7, i", (7, True)),
        (b"i=?1,u=1", (1, True)),
        (b"i=?0", (3, False)),
        (b"u=8", (3, False)),
        (b"u=-1, i", (3, True)),
        (b"u=1.0", (3, False)),
        (b"u=2;q=1;x, i;y=\"z\"", (2, True)),
        (b'x="a, u=1", i', (3, True)),
        (b"x=(1 2), u=4", (4, False)),
        (b"u=1, u=2", (2, False)),
        (b"u=1,", (3, False)),
        (b"u=1 i", (3, False)),
        (b"U=1", (3, False)),
        (b"\xff", (3, False)),
        (b"u=1, " + b"a" * 300, (3, False)),
    ],
)  # fmt: skip
def test_priorities(value: bytes, meant: tuple[int, bool]) -> None:
    assert priority.parse(value) == meant
