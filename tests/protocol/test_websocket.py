"""One WebSocket: a client's bytes become messages, whole or byte by byte; its faults have their Close codes.

The cases follow the families of Autobahn's test suite: framing, pings, reserved bits, opcodes, fragments, UTF-8,
closing, limits, compression.
"""

from __future__ import annotations

import os
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from allcomers.config.limits import Limits
from allcomers.errors import AnswerError
from allcomers.protocol.http1 import Requests
from allcomers.protocol.websocket import frames as module
from allcomers.protocol.websocket import handshake
from allcomers.protocol.websocket.handshake import Offer
from allcomers.protocol.websocket.session import STEP, Closed, WebSocket, accept
from support.frames import (
    BINARY,
    CLOSE,
    CONT,
    MAX_SIZE,
    PING,
    PONG,
    TEXT,
    Sent,
    Talk,
    closing,
    deflated,
    frame,
    inflated,
    read,
    said,
)
from support.streams import cut, each

DEFLATE = "permessage-deflate"
EURO = "€".encode()


def new(*extensions: str, max_size: int = MAX_SIZE) -> WebSocket:
    return accept(Offer(b"", [], list(extensions)), max_size=max_size)[1]


def hear(*frames: bytes, extensions: str = "", max_size: int = MAX_SIZE) -> Talk:
    """Return the events of these frames; the same, however they are cut."""
    offers = [extensions] if extensions else []
    data = b"".join(frames)
    talk = said(new(*offers, max_size=max_size), [data])
    assert said(new(*offers, max_size=max_size), frames) == talk
    if len(data) < 3000:
        assert said(new(*offers, max_size=max_size), each(data)) == talk
    return talk


def refused(talk: Talk, code: int) -> Closed:
    """Check the end after a client broke the protocol: one Close frame, one event, both with `code`."""
    assert talk.over
    last = talk.sent[-1]
    assert last.opcode == CLOSE
    assert last.payload[:2] == code.to_bytes(2, "big")
    closed = talk.events[-1]
    assert closed == Closed(code, last.payload[2:].decode())
    assert not any(isinstance(event, Closed) for event in talk.events[:-1])
    return closed


@contextmanager
def memory_below(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 65537])
def test_messages_of_all_lengths(size: int) -> None:
    data = bytes(at % 251 for at in range(size))
    text = "*" * size
    assert hear(frame(BINARY, data), frame(TEXT, text.encode())) == Talk([data, text])
    websocket = new()
    websocket.binary(data)
    websocket.text(text)
    assert read(b"".join(websocket.data_to_send())) == [Sent(BINARY, data), Sent(TEXT, text.encode())]


def test_a_length_in_more_bytes_than_it_needs() -> None:
    """A sender must not do so (RFC 6455, 5.2); it does no harm, and the library accepts it."""
    assert hear(b"\x82\xfe\x00\x01\0\0\0\0a").events == [b"a"]


@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("reserved", range(1, 8))
def test_reserved_bits(opcode: int, reserved: int) -> None:
    begun = [frame(BINARY, b"a", fin=False)] if opcode == CONT else []
    refused(hear(frame(TEXT, b"first"), *begun, frame(opcode, b"", reserved=reserved), frame(PING)), 1002)


@pytest.mark.parametrize("opcode", [CONT, PING, PONG, CLOSE])
def test_the_first_reserved_bit_belongs_to_the_first_frame_of_a_message(opcode: int) -> None:
    begun = frame(TEXT, deflated(b"abc"), fin=False, reserved=4)
    refused(hear(begun, frame(opcode, b"", reserved=4), extensions=DEFLATE), 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"unknown"])
def test_opcodes_without_a_meaning(opcode: int, payload: bytes) -> None:
    talk = hear(frame(TEXT, b"first"), frame(opcode, payload), frame(TEXT, b"last"))
    refused(talk, 1002)
    assert talk.events[0] == "first"
    assert len(talk.events) == 2


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_client_masks(opcode: int) -> None:
    refused(hear(frame(opcode, b"", masked=False)), 1002)


# ---------------------------------------------------------------- fragments


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("pieces", [[b"", b""], [b"a", b"b"], [b"", b"a", b""], [b"ab", b"", b"", b"cd"], [b"x"] * 50])
def test_a_message_in_fragments(kind: int, pieces: list[bytes]) -> None:
    first, *more, last = pieces
    whole = b"".join(pieces)
    fragments = [frame(kind, first, fin=False), *(frame(CONT, piece, fin=False) for piece in more), frame(CONT, last)]
    expected = whole.decode() if kind == TEXT else whole
    assert hear(*fragments, *fragments, frame(TEXT, b"next")) == Talk([expected, expected, "next"])


def test_lines_end_as_they_were_sent() -> None:
    assert hear(frame(TEXT, b"a\r", fin=False), frame(CONT, b"\nb\r\n\r")).events == ["a\r\nb\r\n\r"]


def test_pings_between_fragments() -> None:
    talk = hear(frame(TEXT, b"a", fin=False), frame(PING, b"1"), frame(PONG), frame(CONT, b"b"), frame(PING, b"2"))
    assert talk == Talk(["ab"], [Sent(PONG, b"1"), Sent(PONG, b"2")])


@pytest.mark.parametrize(
    "frames",
    [
        [frame(CONT, b"a")],
        [frame(CONT, b"a", fin=False)],
        [frame(TEXT, b"a"), frame(CONT, b"b")],
        [frame(TEXT, b"a", fin=False), frame(CONT, b"b"), frame(CONT, b"c")],
        [frame(TEXT, b"a", fin=False), frame(TEXT, b"b")],
        [frame(BINARY, b"a", fin=False), frame(TEXT, b"b", fin=False)],
        [frame(TEXT, b"a", fin=False), frame(CONT, b"b", fin=False), frame(BINARY, b"c")],
    ],
)
def test_fragments_out_of_order(frames: list[bytes]) -> None:
    refused(hear(*frames, frame(TEXT, b"last")), 1002)


# ---------------------------------------------------------------- pings


def test_pings_are_answered_in_order_with_what_they_bring() -> None:
    payloads = [b"", b"hello", bytes(range(125)), b"\xff\x00\xfe", *(b"%d" % n for n in range(10))]
    assert hear(*(frame(PING, payload) for payload in payloads)) == Talk([], [Sent(PONG, each) for each in payloads])


def test_pongs_that_nobody_asked_for() -> None:
    assert hear(frame(PONG), frame(PONG, b"hello"), frame(TEXT, b"a")) == Talk(["a"])


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_short_and_whole(opcode: int) -> None:
    payload = b"\x03\xe8" + b"x" * 123
    assert not hear(frame(PING, payload)).over
    refused(hear(frame(opcode, payload + b"x")), 1002)
    refused(hear(frame(opcode, payload, fin=False), frame(CONT)), 1002)


def test_a_ping_of_ours() -> None:
    websocket = new()
    assert not websocket.awaits_pong
    websocket.ping()
    (first,) = said(websocket, []).sent
    assert first.opcode == PING
    said(websocket, [frame(PONG), frame(PONG, b"x"), frame(TEXT, b"alive")])
    assert websocket.awaits_pong
    said(websocket, [frame(PONG, first.payload)])
    assert not websocket.awaits_pong
    websocket.ping()
    (second,) = said(websocket, [frame(PONG, first.payload)]).sent
    assert second.payload != first.payload
    assert websocket.awaits_pong
    said(websocket, [frame(PONG, second.payload)])
    assert not websocket.awaits_pong


# ---------------------------------------------------------------- text

VALID = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\ufffd\ufffe\uffff\U00010000\U0010ffff",
    "κόσμε",
    "\ufeffa",  # a mark at the beginning is a part of the text
]
INVALID = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",  # longer than need be
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xed\xa0\x80",  # surrogates
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xc3\x28",
    b"\xe2\x82\x28",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",  # Autobahn's 6.3
]
CUT = [b"\xc2", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x98"]


@pytest.mark.parametrize("text", VALID)
def test_text_cut_at_each_byte(text: str) -> None:
    data = text.encode()
    assert hear(frame(TEXT, data)) == Talk([text])
    fragments = [frame(CONT, byte, fin=False) for byte in each(data)]
    assert hear(frame(TEXT, fin=False), *fragments, frame(CONT)) == Talk([text])
    for at in range(len(data)):
        assert hear(frame(TEXT, data[:at], fin=False), frame(CONT, data[at:])) == Talk([text])


@pytest.mark.parametrize("data", INVALID)
def test_what_is_no_text(data: bytes) -> None:
    refused(hear(frame(TEXT, b"a" + data + b"b")), 1007)
    assert hear(frame(BINARY, b"a" + data + b"b")).events == [b"a" + data + b"b"]
    for at in range(len(data) + 1):
        first, second = frame(TEXT, b"a" + data[:at], fin=False), frame(CONT, data[at:] + b"b", fin=False)
        refused(hear(first, frame(PING), second), 1007)


@pytest.mark.parametrize("data", CUT)
def test_text_that_ends_within_a_character(data: bytes) -> None:
    refused(hear(frame(TEXT, b"a" + data)), 1007)
    refused(hear(frame(TEXT, b"a" + data[:1], fin=False), frame(CONT, data[1:], fin=False), frame(CONT)), 1007)


def test_bad_text_is_refused_before_the_message_is_whole() -> None:
    """BAD_INPUT 84: at the fragment in which it is bad."""
    websocket = new()
    websocket.feed(frame(TEXT, "κόσμε".encode() + b"\xf4", fin=False))
    assert not websocket.over
    refused(said(websocket, [frame(CONT, b"\x90", fin=False)]), 1007)


def test_what_follows_bad_text_is_not_looked_at() -> None:
    talk = hear(frame(TEXT, b"\xff"), frame(PING), closing(1000), frame(TEXT, b"a"))
    assert len(talk.events) == len(talk.sent) == 1
    refused(talk, 1007)


def test_text_that_cannot_be_sent() -> None:
    websocket = new()
    with pytest.raises(AnswerError):
        websocket.text("\ud800")
    assert websocket.data_to_send() == []
    assert websocket.open


# ---------------------------------------------------------------- the end

RIGHT = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
WRONG = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", RIGHT)
@pytest.mark.parametrize("reason", ["", "gone", "€" * 41])
def test_the_client_closes(code: int, reason: str) -> None:
    talk = hear(frame(TEXT, b"a"), closing(code, reason.encode()), frame(TEXT, b"b"), frame(PING), closing(1001))
    answer = Sent(CLOSE, code.to_bytes(2, "big") + reason.encode())
    assert talk == Talk(["a", Closed(code, reason)], [answer], over=True)


def test_the_client_closes_without_a_code() -> None:
    assert hear(frame(CLOSE)) == Talk([Closed(1005, "")], [Sent(CLOSE, b"")], over=True)


@pytest.mark.parametrize("code", WRONG)
def test_codes_that_no_close_frame_has(code: int) -> None:
    refused(hear(closing(code)), 1002)
    with pytest.raises(AnswerError):
        new().fail(code)
    if code != 1005:  # which says that there is none
        with pytest.raises(AnswerError):
            new().close(code)


@pytest.mark.parametrize("code", [None, "1000", 3000.5])
def test_codes_that_are_no_numbers(code: Any) -> None:
    with pytest.raises(AnswerError):
        new().close(code)


def test_half_a_code() -> None:
    refused(hear(frame(CLOSE, b"\x03")), 1002)


def test_a_reason_that_is_no_text() -> None:
    refused(hear(closing(1000, b"\xff")), 1007)
    refused(hear(closing(1000, EURO[:2])), 1007)


@pytest.mark.parametrize(
    ("said_by_client", "closed", "answer"),
    [
        (closing(1001, b"gone"), Closed(1001, "gone"), b"\x03\xe9gone"),
        (frame(CLOSE), Closed(1005, ""), b"\x03\xe8"),
    ],
)
def test_a_client_that_closes_within_a_message(said_by_client: bytes, closed: Closed, answer: bytes) -> None:
    talk = hear(frame(TEXT, b"a", fin=False), frame(PING), said_by_client, frame(CONT, b"b"))
    assert talk == Talk([closed], [Sent(PONG, b""), Sent(CLOSE, answer)], over=True)
    refused(hear(frame(TEXT, b"a", fin=False), closing(999)), 1002)


def test_the_connection_ends() -> None:
    for begun in (b"", frame(TEXT, b"a", fin=False), frame(TEXT, b"abc")[:-1]):
        websocket = new()
        assert said(websocket, [begun, b""] if begun else [b""]) == Talk([Closed(1006, "")], [], over=True)
        assert not websocket.open
        assert said(websocket, [b"", frame(TEXT, b"a"), b""]) == Talk([], [], over=True)


def test_the_connection_ends_after_the_client_has_closed() -> None:
    websocket = new()
    said(websocket, [closing(1000)])
    assert said(websocket, [b""]) == Talk([], [], over=True)


@pytest.mark.parametrize("reply", [closing(1000, b"so be it"), closing(4000), frame(CLOSE)])
def test_we_close(reply: bytes) -> None:
    websocket = new()
    websocket.close(4000, "enough")
    websocket.close(1000)
    websocket.text("too late")
    websocket.binary(b"too late")
    websocket.ping()
    assert (websocket.open, websocket.over) == (False, False)
    talk = said(websocket, [frame(TEXT, b"a"), frame(BINARY, b"b", fin=False), frame(CONT, b"c"), frame(PING, b"1")])
    assert talk == Talk([], [Sent(CLOSE, b"\x0f\xa0enough"), Sent(PONG, b"1")])
    talk = said(websocket, [reply, frame(TEXT, b"d")])
    assert talk.over
    assert talk.sent == []
    assert [type(event) for event in talk.events] == [Closed]


def test_we_close_and_the_client_says_nothing_more() -> None:
    websocket = new()
    websocket.close(1001)
    assert said(websocket, [b""]) == Talk([Closed(1001, "")], [Sent(CLOSE, b"\x03\xe9")], over=True)


def test_we_close_and_the_client_breaks_the_protocol() -> None:
    websocket = new()
    websocket.close(1001)
    talk = said(websocket, [frame(3)])
    assert talk == Talk([Closed(1001, "")], [Sent(CLOSE, b"\x03\xe9")], over=True)


def test_we_close_and_hold_nothing_of_what_still_comes() -> None:
    websocket = new(max_size=64 << 20)
    websocket.close()
    data = frame(BINARY, bytes(50_000), fin=False), *[frame(CONT, bytes(50_000), fin=False)] * 99
    with memory_below(MAX_SIZE):
        for piece in data:
            assert said(websocket, [piece]).events == []
    assert not websocket.over


def test_a_reason_is_cut_to_what_a_frame_holds() -> None:
    websocket = new()
    websocket.close(1000, "x" + "€" * 50)
    assert said(websocket, []).sent == [Sent(CLOSE, b"\x03\xe8x" + EURO * 40)]


def test_we_close_without_a_code() -> None:
    websocket = new()
    websocket.close(1005)
    assert said(websocket, [frame(CLOSE)]) == Talk([Closed(1005, "")], [Sent(CLOSE, b"")], over=True)


def test_we_give_up() -> None:
    websocket = new()
    websocket.feed(frame(TEXT, b"abc", fin=False) + frame(CONT))
    websocket.fail(1011, "no pong")
    websocket.fail(1000)
    assert websocket.over
    assert said(websocket, [frame(TEXT, b"a"), b""]) == Talk(
        [Closed(1011, "no pong")], [Sent(CLOSE, b"\x03\xf3no pong")], over=True
    )


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_the_largest_message(kind: int) -> None:
    whole = frame(kind, b"x" * 100)
    parts = frame(kind, b"x" * 60, fin=False), frame(CONT, b"x" * 40, fin=False), frame(PING, b"y" * 125), frame(CONT)
    talk = hear(whole, *parts, max_size=100)
    assert len(talk.events) == 2
    assert {len(event) for event in talk.events} == {100}
    assert talk.sent == [Sent(PONG, b"y" * 125)]


@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_message_that_is_larger(kind: int) -> None:
    refused(hear(frame(kind, b"x" * 101), max_size=100), 1009)
    refused(hear(frame(kind, b"x" * 100, fin=False), frame(CONT, b"x", fin=False), max_size=100), 1009)
    closed = refused(hear(frame(kind, b"x" * 1000), max_size=100), 1009)
    assert closed.reason == "a message is larger than 100 bytes"


@pytest.mark.parametrize("size", [MAX_SIZE + 126, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_frame_that_says_it_is_too_large_is_refused_by_its_head(size: int) -> None:
    """BAD_INPUT 82: not when it has come, byte by byte."""
    refused(hear(frame(BINARY, size=size)[:10]), 1009)
    refused(hear(frame(BINARY, b"x", fin=False), frame(CONT, size=size)[:10]), 1009)


def test_tiny_fragments_cost_what_they_bring() -> None:
    """BAD_INPUT 83: one list entry a fragment would be 80 times as much."""
    for kind in (TEXT, BINARY):
        websocket = new()
        said(websocket, [frame(kind, b"x", fin=False)])
        some = frame(CONT, b"x", fin=False) * 1000
        with memory_below(250_000):
            for _ in range(5):
                said(websocket, [some])
        talk = said(websocket, [frame(CONT)])
        assert [len(event) for event in talk.events] == [5001]


def test_a_flood_of_empty_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAGMENTS", 3000)  # the limit itself takes seconds to reach
    websocket = new()
    talk = said(websocket, [frame(TEXT, fin=False) + frame(CONT, fin=False) * 2998 + frame(CONT)])
    assert talk == Talk([""])
    refused(said(websocket, [frame(TEXT, fin=False), frame(CONT, fin=False) * 3000]), 1008)


def test_what_one_read_leads_to_is_limited() -> None:
    websocket = new()
    data = frame(PING) * 5000 + b"".join(frame(TEXT, b"%d" % n) for n in range(5000))
    events = websocket.feed(data)
    assert len(data) - websocket.held <= STEP
    turns = 1
    while websocket.held:
        before = websocket.held
        events += websocket.go_on()
        assert before - websocket.held <= STEP
        turns += 1
    assert turns > 5
    assert events == [str(n) for n in range(5000)]
    assert websocket.go_on() == []


def test_what_is_held_is_told_before_the_end() -> None:
    websocket = new()
    events = websocket.feed(b"".join(frame(TEXT, b"%d" % n) for n in range(3000)))
    assert websocket.held
    events += websocket.feed(b"")
    while websocket.held:
        events += websocket.go_on()
    assert events == [*map(str, range(3000)), Closed(1006, "")]


def test_what_is_held_is_forgotten_when_it_is_over() -> None:
    websocket = new()
    websocket.feed(frame(PING) * 3000)
    assert websocket.held
    websocket.fail(1011)
    assert websocket.go_on() == [Closed(1011, "")]
    assert websocket.held == 0


# ---------------------------------------------------------------- compression


def test_a_compressed_message() -> None:
    text = "hello, hello, hello " * 100
    data = deflated(text.encode())
    one = frame(TEXT, data, reserved=4)
    some = [
        frame(TEXT, data[:5], fin=False, reserved=4),
        frame(PING),
        *(frame(CONT, each, fin=False) for each in each(data[5:])),
    ]
    talk = hear(one, *some, frame(CONT), frame(TEXT, b"plain"), frame(BINARY, data, reserved=4), extensions=DEFLATE)
    assert talk == Talk([text, text, "plain", text.encode()], [Sent(PONG, b"")])


def test_empty_messages_compressed() -> None:
    """RFC 7692, 7.2.3.6: one zero byte. And no byte at all, which is no valid block but means the same."""
    assert hear(frame(TEXT, b"\x00", reserved=4), frame(BINARY, b"", reserved=4), extensions=DEFLATE).events == [
        "",
        b"",
    ]


def test_messages_with_final_blocks() -> None:
    """RFC 7692, 7.2.3.4: a block may be marked as the last."""
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(b"hello") + deflater.flush(zlib.Z_FINISH) + b"\x00"
    message = frame(TEXT, data, reserved=4)
    assert hear(message, message, extensions=DEFLATE).events == ["hello", "hello"]


def test_text_in_compressed_fragments_is_checked() -> None:
    data = deflated(b"abc" + EURO[:2] + b"(" + os.urandom(500))
    frames = [frame(TEXT, data[:20], fin=False, reserved=4), frame(CONT, data[20:], fin=False)]
    refused(hear(*frames, extensions=DEFLATE), 1007)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x00garbage", deflated(b"abc" * 1000)[:5] + b"\xff" * 20])
def test_what_cannot_be_inflated(data: bytes) -> None:
    refused(hear(frame(BINARY, data, reserved=4), extensions=DEFLATE), 1002)


def test_nothing_of_one_message_can_be_had_in_the_next() -> None:
    """A client that refers to an earlier message, against the handshake, gets no window of another message's data."""
    deflater = zlib.compressobj(wbits=-15)
    secret = os.urandom(200)
    first = (deflater.compress(secret) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    second = (deflater.compress(secret) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(second) < 50
    talk = hear(frame(BINARY, first, reserved=4), frame(BINARY, second, reserved=4), extensions=DEFLATE)
    assert talk.events[0] == secret
    refused(talk, 1002)


@pytest.mark.parametrize("bits", range(8, 16))
def test_the_clients_window(bits: int) -> None:
    text = " ".join(map(str, range(3000)))
    frames = frame(TEXT, deflated(text.encode(), max(bits, 9)), reserved=4)
    if bits > 8:  # zlib sends with none of 8
        assert hear(frames, extensions=f"{DEFLATE}; client_max_window_bits={bits}").events == [text]
    assert hear(frames, extensions=f"{DEFLATE}; client_max_window_bits").events == [text]


@pytest.mark.parametrize("bits", range(9, 16))
def test_our_window(bits: int) -> None:
    websocket = new(f"{DEFLATE}; server_max_window_bits={bits}")
    data = random.Random(1).randbytes(400) * 40
    websocket.binary(data)
    websocket.binary(data)
    first, second = said(websocket, []).sent
    assert first == second, "nothing is kept between two messages"
    assert (len(first.payload) < 1000) == (bits > 10)
    assert first.compressed
    assert inflated(first.payload, bits) == data


def test_what_we_compress() -> None:
    websocket = new(DEFLATE)
    websocket.text("a" * 511)
    websocket.text("a" * 512)
    websocket.binary(random.Random(1).randbytes(5000))
    websocket.binary(b"\0" * 100_000)
    websocket.ping()
    websocket.close(1000, "b" * 123)
    sent = said(websocket, []).sent
    assert [each.compressed for each in sent] == [False, True, False, True, False, False]
    assert inflated(sent[1].payload) == b"a" * 512
    assert inflated(sent[3].payload) == b"\0" * 100_000


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) < 70_000
    whole = frame(BINARY, bomb, reserved=4)
    parts = frame(BINARY, bomb[:30_000], fin=False, reserved=4) + frame(CONT, bomb[30_000:])
    for data in (whole, parts):
        websocket = new(DEFLATE)
        with memory_below(4 * MAX_SIZE):
            talk = said(websocket, [data])
        refused(talk, 1009)


def test_a_message_is_measured_as_it_is_before_compression() -> None:
    for size, code in ((1000, 0), (1001, 1009)):
        talk = hear(frame(BINARY, deflated(bytes(size)), reserved=4), extensions=DEFLATE, max_size=1000)
        assert talk.over == bool(code)
        if code:
            refused(talk, code)


def test_many_bombs_in_one_read_go_off_one_by_one() -> None:
    data = frame(BINARY, deflated(bytes(MAX_SIZE)), reserved=4)
    websocket = new(DEFLATE)
    events = websocket.feed(data * 40)
    together = 0
    while websocket.held:
        together = max(together, sum(map(len, events)))
        events = websocket.go_on()
    assert 0 < together <= 9 * MAX_SIZE


def test_what_it_took_to_inflate_is_given_back_at_the_end() -> None:
    with memory_below(4 * MAX_SIZE):
        gone = [new(DEFLATE) for _ in range(100)]
        for websocket in gone:
            said(websocket, [frame(TEXT, deflated(bytes(100_000))[:90], fin=False, reserved=4), b""])


LARGE = MAX_SIZE // 2
SQUEEZED = deflated(bytes(LARGE))


@pytest.mark.parametrize(
    ("extension", "frames"),
    [
        ("", [frame(BINARY, bytes(LARGE))]),
        ("", [frame(TEXT, b"a" * (LARGE // 2), fin=False), frame(CONT, b"a" * (LARGE // 2))]),
        (DEFLATE, [frame(BINARY, SQUEEZED, reserved=4)]),
        (DEFLATE, [frame(TEXT, deflated(b"a" * LARGE), reserved=4)]),
        (DEFLATE, [frame(BINARY, SQUEEZED[:50], fin=False, reserved=4), frame(CONT, SQUEEZED[50:])]),
    ],
    ids=["plain", "fragments", "deflated", "deflated text", "deflated fragments"],
)
def test_nothing_is_kept_of_a_message_that_was_given_out(extension: str, frames: list[bytes]) -> None:
    websocket = new(*filter(None, [extension]))
    tracemalloc.start()
    try:
        sizes = [len(event) for data in frames for event in websocket.feed(data)]
        while websocket.held:
            sizes += [len(event) for event in websocket.go_on()]
        assert sizes == [LARGE]
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- a client of another make


@pytest.mark.parametrize(
    "factory",
    [
        None,
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(client_max_window_bits=True),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
    ],
)
def test_a_whole_talk_with_the_client_of_websockets(factory: ClientPerMessageDeflateFactory | None) -> None:
    client = ClientProtocol(
        parse_uri("ws://example.org/chat"), extensions=[factory] if factory else None, subprotocols=["b", "a"]
    )
    client.send_request(client.connect())
    inbound = Requests(Limits())
    inbound.feed(b"".join(client.data_to_send()))
    head = inbound.head()
    assert head is not None
    assert handshake.asked(head)
    block, websocket = accept(handshake.offer(head), max_size=MAX_SIZE, subprotocol="a", headers=[("X-A", "1")])
    client.receive_data(block)
    client.events_received()
    assert client.handshake_exc is None
    assert client.subprotocol == "a"
    assert len(client.extensions) == bool(factory)

    messages: list[str | bytes] = ["hi", "€" * 5000, b"", bytes(70_000), random.Random(2).randbytes(3000), "hi" * 600]
    for message in messages:
        if isinstance(message, str):
            client.send_text(message.encode())
        else:
            client.send_binary(message)
    talk = Talk(websocket.feed(b"".join(client.data_to_send())))
    while websocket.held:
        talk.events += websocket.go_on()
    assert talk.events == messages
    for event in talk.events:
        if isinstance(event, str):
            websocket.text(event)
        elif isinstance(event, bytes):
            websocket.binary(event)
    websocket.ping()
    client.receive_data(b"".join(websocket.data_to_send()))
    back = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [event.data.decode() if event.opcode is Opcode.TEXT else event.data for event in back[:-1]] == messages
    websocket.feed(b"".join(client.data_to_send()))
    assert not websocket.awaits_pong

    websocket.close(1001, "bye")
    client.receive_data(b"".join(websocket.data_to_send()))
    assert websocket.feed(b"".join(client.data_to_send())) == [Closed(1001, "bye")]
    assert websocket.over


# ---------------------------------------------------------------- whatever comes

opcodes = st.sampled_from([CONT, CONT, TEXT, TEXT, BINARY, CLOSE, PING, PONG, 3, 11])
payloads = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=200).map(deflated),
    st.integers(0, 5000).map(lambda code: code.to_bytes(2, "big")),
)
frames = st.builds(
    frame,
    opcodes,
    payloads,
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 4, 4, 1]),
    masked=st.sampled_from([True] * 9 + [False]),
    size=st.sampled_from([None] * 9 + [300]),
)
streams = st.lists(frames, max_size=12).map(b"".join)


@settings(max_examples=300)
@given(st.one_of(streams, st.binary(max_size=200)), st.lists(st.integers(0, 400), max_size=10), st.booleans())
def test_it_does_not_matter_how_a_stream_is_cut(data: bytes, places: list[int], deflate: bool) -> None:
    extensions = [DEFLATE] if deflate else []
    whole = said(new(*extensions, max_size=150), [data, b""] if data else [b""])
    pieces = [piece for piece in cut(data, places) if piece]
    assert said(new(*extensions, max_size=150), [*pieces, b""]) == whole
    assert isinstance(whole.events[-1], Closed)
    assert whole.over
    assert all(len(event) <= 150 for event in whole.events[:-1])
