"""Compiled and plain: the same bytes have the same events, replies and end; and a message has the same frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.protocol import compiled as leaf
from allcomers.protocol.websocket import frames as module
from allcomers.protocol.websocket.frames import KEPT, Windows, framed
from allcomers.protocol.websocket.handshake import Offer
from allcomers.protocol.websocket.session import WebSocket, accept
from support.builds import plain
from support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Sent, Talk, closing, deflated, frame, read, said
from support.streams import cut

MAX_SIZE = 70_000
DEFLATE = "permessage-deflate"

needs_leaf = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")


def new(extension: str = "") -> WebSocket:
    return accept(Offer(b"", [], [extension] if extension else []), max_size=MAX_SIZE)[1]


def same(pieces: list[bytes], extension: str = "") -> Talk:
    """Return what became of these pieces in the compiled build, which is the same in plain Python."""
    with plain():
        expected = said(new(extension), pieces)
    websocket = new(extension)
    talk = said(websocket, pieces)
    assert talk == expected
    with plain():
        other = new(extension)
        said(other, pieces)
    assert (websocket.control, websocket.open, websocket.under_way) == (other.control, other.open, other.under_way)
    return talk


texts = st.text(max_size=40).map(str.encode)
payloads = st.one_of(texts, st.binary(max_size=40), st.sampled_from([125, 126, 127, 65535, 65536, MAX_SIZE]).map(bytes))
plain_frames = st.builds(
    frame,
    st.sampled_from([TEXT, BINARY, BINARY, CONT, PING, PONG, 3, 11]),
    payloads,
    fin=st.sampled_from([True, True, True, False]),
    reserved=st.sampled_from([0] * 9 + [1, 2, 4]),
    masked=st.sampled_from([True] * 9 + [False]),
)
packed_frames = st.builds(
    frame,
    st.sampled_from([TEXT, BINARY]),
    st.one_of(payloads.map(deflated), st.binary(max_size=10)),
    fin=st.sampled_from([True, True, False]),
    reserved=st.just(4),
)
lies = st.builds(
    frame, st.just(BINARY), st.just(b"abc"), size=st.sampled_from([2, 4, 126, MAX_SIZE + 1, 1 << 62, 1 << 63])
)
talks = st.lists(st.one_of(plain_frames, plain_frames, packed_frames, lies, st.just(closing(1000))), max_size=8)


@needs_leaf
@settings(max_examples=300, deadline=None)
@given(talks, st.sampled_from(["", DEFLATE]), st.lists(st.integers(0, 400), max_size=6))
def test_the_builds_agree(frames: list[bytes], extension: str, places: list[int]) -> None:
    data = b"".join(frames)
    same([data], extension)
    same(frames, extension)
    same(cut(data, places), extension)


@needs_leaf
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_they_agree_about_any_bytes(data: bytes) -> None:
    same([b"\x81" + data])
    same([b"\x82\x85" + data], DEFLATE)
    same([data])


@needs_leaf
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 125, 126, 4096, 4097, 65535, 65536, MAX_SIZE])
@pytest.mark.parametrize("extension", ["", DEFLATE])
def test_every_size_both_ways(size: int, extension: str) -> None:
    text = ("aé€😀" * size)[: size // 10] + "x" * (size - len(("aé€😀" * size)[: size // 10].encode()))
    data = text.encode()
    assert len(data) == size
    talk = same([frame(TEXT, data) + frame(BINARY, data)], extension)
    assert talk.events == [text, data]
    windows = Windows(15, 12) if extension else None
    for message in (text, data):
        ours = framed(message, windows)
        module._last = ("another", 0, b"")
        with plain():
            assert framed(message, windows) == ours
        module._last = ("another", 0, b"")


@needs_leaf
def test_common_frames_cost_no_object_of_the_library() -> None:
    websocket = new(DEFLATE)
    common = (
        frame(TEXT, b"x") + frame(BINARY, b"y" * 60_000) + frame(PING, b"1") + frame(TEXT, deflated(b"z"), reserved=4)
    )
    talk = said(websocket, [common])
    assert talk.events == ["x", b"y" * 60_000, "z"]
    assert talk.sent == [Sent(PONG, b"1")]
    assert websocket._frames is None


@needs_leaf
def test_what_begins_within_a_message_is_the_librarys() -> None:
    assert same([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")]).sent[-1].payload[:2] == (1002).to_bytes(2, "big")
    assert same([frame(TEXT, b"a", fin=False), frame(PING, b"p"), frame(CONT, b"b")]).events == ["ab"]
    whole = frame(BINARY, frame(TEXT, b"within"))
    assert same([whole[:3], whole[3:], frame(TEXT, b"behind")]).events == [frame(TEXT, b"within"), "behind"]


@needs_leaf
def test_a_peer_at_rest_frees_the_librarys_part() -> None:
    websocket = new()
    said(websocket, [frame(TEXT, b"a", fin=False), frame(CONT, b"b")])
    assert websocket._frames is not None
    websocket.ping()
    assert websocket._frames is None
    (ping,) = read(b"".join(websocket.data_to_send()))
    assert said(websocket, [frame(PONG, ping.payload), frame(TEXT, b"c")]).events == ["c"]
    assert not websocket.awaits_pong
    said(websocket, [frame(TEXT, b"a", fin=False)])
    websocket.ping()
    assert said(websocket, [frame(CONT, b"b")]).events == ["ab"]


@pytest.mark.parametrize("windows", [None, Windows(15, 12)])
@pytest.mark.parametrize("message", ["€" * 3000, b"x" * 3000, "short"])
def test_one_message_to_many_is_framed_once(message: str | bytes, windows: Windows | None) -> None:
    first = framed(message, windows)
    assert framed(message, windows) is first
    other = framed(message, None if windows else Windows(15, 9))
    assert read(other)[0].compressed is (windows is None and len(message) > 5)
    assert framed(message, windows) == first


def test_a_large_frame_is_not_kept() -> None:
    message = bytes(KEPT)
    assert framed(message, None) is not framed(message, None)


def test_a_close_is_echoed_whatever_was_common_before() -> None:
    talk = said(new(), [frame(TEXT, b"a") + frame(PING, b"p") + closing(1000, b"bye")])
    assert talk.events == ["a", (1000, "bye")]
    assert [sent.opcode for sent in talk.sent] == [PONG, CLOSE]
    assert talk.over
