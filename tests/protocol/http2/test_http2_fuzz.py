"""Exchanges of frames that nobody would send: a session raises nothing, loses no byte of a window, and does the same
however the bytes come."""

from __future__ import annotations

import os
import random
import struct

import pytest

from allcomers.config.limits import Rate
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import (
    DataReceived,
    Http2Event,
    RequestReceived,
    RequestRefused,
    SessionFailed,
    TrailersReceived,
)
from allcomers.protocol.http2.session import Session
from allcomers.protocol.http2.state import SessionPhase
from support import http2
from support.http2 import GET, HELLO, POST, block, frame

pytestmark = pytest.mark.usefixtures("both_builds")

EXCHANGES = 1000
PARTS = 50 if os.environ.get("ALLCOMERS_WHOLE") else 1
"""Of each build so many exchanges: a hundred thousand in all by `make conformance`."""

WINDOW = 70_000
LIMITS = {"stream_window": 300, "connection_window": WINDOW, "max_streams": 4, "faults": Rate(8, 0.0)}

HEADS = [
    *map(block, (GET, POST, [*POST, ("content-length", "3")], [*GET, ("x", "y")], [*GET, ("X", "y")], [("x", "y")])),
    *map(block, ([*GET, ("te", "gzip")], [(":status", "200")], [*GET, ("expect", "x")], [])),
    *(block(GET) + more for more in (b"\x40\x01a\x01b", b"\xbe", b"\x40\x01c\x01d")),
    *(b"\x20" + block(GET), b"\xbe", b"\x80", b"\x40\x01a\x01b"),
]  # fmt: skip


def some_frame(session: Session, rng: random.Random) -> bytes:
    """Return a frame: of four, three are right, and go on with what is open."""
    if rng.random() < 0.25:
        return wild_frame(rng)
    fresh = session.table.last + 2
    stream = rng.choice([*session.streams, fresh])
    if stream == fresh:
        return frame(1, rng.choice((4, 4, 5)), stream, rng.choice(HEADS[:8]))
    return rng.choice(
        (
            frame(0, 0, stream, bytes(rng.randrange(60))),
            frame(0, 1, stream, bytes(rng.choice((0, 3)))),
            frame(0, 8, stream, b"\x02" + bytes(rng.randrange(2, 9))),
            frame(1, 5, stream, block([("x", "y")])),
            frame(1, 1, stream, block([("x", "y")])[:2]) + frame(9, 4, stream, block([("x", "y")])[2:]),
            frame(16, 0, 0, struct.pack(">I", stream) + b"u=1"),
            frame(8, 0, rng.choice((0, stream)), struct.pack(">I", 100)),
            frame(3, 0, stream, struct.pack(">I", 8)),
            frame(4, 0, 0, struct.pack(">HI", 4, rng.randrange(500))),
            frame(6, rng.randrange(2), 0, bytes(8)),
            frame(7, 0, 0, bytes(8)),
        )
    )


def wild_frame(rng: random.Random) -> bytes:
    """Return a frame that is often on a wrong stream, of a wrong size, or of random bytes."""
    stream = rng.choice((1, 3, 5, 7, 9, 1, 3, 5, 0, 2))
    flags = rng.choice((0, 1, 4, 5, 5, 5, 8, 0x24))
    kind = rng.choice((0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 4, 6, 7, 8, 8, 9, 9, 16, 5, 77))
    number = struct.pack(">I", rng.choice((0, 1, 2, 300, 2**31 - 1, rng.getrandbits(32))))
    payload = {
        0: lambda: bytes(rng.choice((0, 1, 3, 290, 16384))),
        1: lambda: rng.choice(HEADS),
        2: lambda: bytes(5),
        3: lambda: number,
        4: lambda: b"" if flags & 1 else struct.pack(">H", rng.randrange(10)) + number,
        6: lambda: bytes(8),
        7: lambda: number * 2,
        8: lambda: number,
        9: lambda: rng.choice(HEADS)[:9],
        16: lambda: number + b"u=1, i",
    }.get(kind, lambda: rng.randbytes(rng.randrange(20)))()
    if rng.random() < 0.04:
        payload = rng.randbytes(rng.randrange(12))
    if kind in (4, 6, 7, 16) and rng.random() < 0.9:
        stream = 0
    return frame(kind, flags, stream, payload)


def act(session: Session, events: list[Http2Event], rng: random.Random) -> None:
    """Do with the streams what an app may do."""
    for event in events:
        if isinstance(event, DataReceived) and rng.random() < 0.7:
            session.consumed(event.stream, len(event.data))
        if isinstance(event, RequestReceived) and rng.random() < 0.3:
            event.head.request()
        if isinstance(event, RequestReceived | RequestRefused | DataReceived | TrailersReceived) and rng.random() < 0.5:
            answer(session, event.stream, rng)
        elif rng.random() < 0.1:
            session.reset(rng.choice((1, 3, 5, 7)))


def answer(session: Session, stream: int, rng: random.Random) -> None:
    found = session.streams.get(stream)
    if found is None or found.sending != 0:
        return
    block = blocks.status_block(200)
    if rng.random() < 0.5:
        session.answer(stream, block, b"hello")
    else:
        session.respond(stream, block)
        session.send(stream, bytes(min(session.room(stream), 100)), end=rng.random() < 0.5)


def played(seed: int, sizes: random.Random | None) -> tuple[list[str], bytes]:
    """Return the events and the bytes of an exchange. Each frame comes alone, or in pieces by `sizes`."""
    rng = random.Random(seed)
    session = http2.server(started=False, http2=LIMITS, max_head=200, max_body=1000, max_headers=3)
    told, sent = [], []
    for count in range(rng.randrange(2, 25)):
        data = some_frame(session, rng) if count else HELLO
        events = []
        for piece in pieces(data, sizes):
            events += session.receive(piece, 0.0)
        state = random.Random(rng.getrandbits(32))
        act(session, events, state)
        told += [type(event).__name__ + repr(event[:1]) for event in events]
        sent.append(session.output())
        check(session, events)
    return told, b"".join(sent)


def pieces(data: bytes, sizes: random.Random | None) -> list[bytes]:
    if sizes is None:
        return [data]
    cuts = sorted(sizes.randrange(len(data) + 1) for _ in range(3))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def check(session: Session, events: list[Http2Event]) -> None:
    if session.phase is SessionPhase.FAILED:
        assert not session.streams
        assert not events or isinstance(events[-1], SessionFailed)
        return
    held = sum(found.held for found in session.streams.values())
    assert session.receive_window + session.returned + held == WINDOW
    assert len(session.streams) <= 4
    for stream, found in session.streams.items():
        assert found.window + found.returned + found.held == session.new_window
        assert found.held >= 0
        assert session.room(stream) >= 0


EVENTS = {event.__name__ for event in Http2Event.__args__} - {"ResponseReceived"}  # which is a client's
ERRORS = {(http2.GOAWAY, code) for code in (1, 3, 5, 6, 9, 11)} | {(http2.RST_STREAM, code) for code in (1, 3, 5, 7)}


@pytest.mark.parametrize("part", range(PARTS))
def test_exchanges(part: int) -> None:
    """The first part has all that may happen."""
    events, errors = set(), set()
    for seed in range(part * EXCHANGES, (part + 1) * EXCHANGES):
        told, sent = played(seed, None)
        assert played(seed, random.Random(seed)) == (told, sent), f"in pieces, the exchange {seed} is another"
        events.update(name.partition("(")[0] for name in told)
        errors.update(
            (each.kind, each.code) for each in http2.parse(sent) if each.kind in (http2.RST_STREAM, http2.GOAWAY)
        )
    if not part:
        assert events == EVENTS
        assert errors >= ERRORS
