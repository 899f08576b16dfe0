"""The framings of plain TCP services: whole, byte by byte, with further bytes behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import PeerError
from allcomers.protocol.framing import Delimited, Framing, LengthPrefixed, Raw
from support.streams import cut, each


def read(framing: Framing, pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return (the messages in `pieces`, the bytes left), as a connection reads them. Raises PeerError."""
    found, rest = [], b""
    for piece in pieces:
        messages, rest = framing.split(rest + piece)
        found += messages
    return found, rest


def test_raw_is_whatever_one_read_brings() -> None:
    assert Raw().split(b"abc") == ([b"abc"], b"")
    assert Raw().wrap(b"abc") == b"abc"


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"--end--"])
@pytest.mark.parametrize("messages", [[], [b""], [b"a"], [b"", b"", b"ab", b""], [b"x" * 100] * 3])
def test_delimited(delimiter: bytes, messages: list[bytes]) -> None:
    framing = Delimited(delimiter)
    data = b"".join(framing.wrap(message) for message in messages)
    for rest in (b"", b"begun", delimiter[:-1]):
        assert framing.split(data + rest) == (messages, rest)
        assert read(framing, each(data + rest)) == (messages, rest)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("byteorder", ["big", "little"])
@pytest.mark.parametrize("messages", [[], [b""], [b"a"], [b"", b"", b"ab", b""], [b"x" * 100] * 3])
def test_length_prefixed(width: int, byteorder: str, messages: list[bytes]) -> None:
    framing = LengthPrefixed(width, byteorder=byteorder)  # type: ignore[arg-type]
    data = b"".join(framing.wrap(message) for message in messages)
    for rest in (b"", framing.wrap(b"xy")[:-1], b"\0" * (width - 1)):
        assert framing.split(data + rest) == (messages, rest)
        assert read(framing, each(data + rest)) == (messages, rest)


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n"])
def test_the_longest_message_between_delimiters(delimiter: bytes) -> None:
    framing = Delimited(delimiter, max_size=10)
    exact = b"x" * 10 + delimiter
    for pieces in ([exact * 2], each(exact * 2)):
        assert read(framing, pieces) == ([b"x" * 10] * 2, b"")
    for data in (b"x" * 11 + delimiter, b"x" * 30, exact + b"x" * 11 + delimiter):
        for pieces in ([data], each(data)):
            with pytest.raises(PeerError):
                read(framing, pieces)
    with pytest.raises(PeerError):  # an endless one, before its end comes
        read(framing, each(b"x" * (10 + len(delimiter))))


def test_the_longest_message_behind_a_length() -> None:
    framing = LengthPrefixed(2, max_size=10)
    assert framing.split(b"\0\x0a" + b"x" * 10) == ([b"x" * 10], b"")
    for pieces in ([b"\0\x0b"], each(b"\0\x0b")):  # refused by its length, before any of it is held
        with pytest.raises(PeerError):
            read(framing, pieces)
    with pytest.raises(PeerError):
        LengthPrefixed().split(b"\xff\xff\xff\xff")
    assert LengthPrefixed(1).max_size == 255


def test_what_a_framing_cannot_carry() -> None:
    assert LengthPrefixed(1).wrap(b"x" * 255) == b"\xff" + b"x" * 255
    with pytest.raises(ValueError):
        LengthPrefixed(1).wrap(b"x" * 256)


@pytest.mark.parametrize("width", [0, 9, -1])
def test_bad_widths(width: int) -> None:
    with pytest.raises(ValueError):
        LengthPrefixed(width)


def test_bad_delimiter() -> None:
    with pytest.raises(ValueError):
        Delimited(b"")


FRAMINGS = st.sampled_from(
    [Delimited(b"\n"), Delimited(b"\r\n"), LengthPrefixed(1), LengthPrefixed(4, byteorder="little")]
)


@given(FRAMINGS, st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 150), max_size=5))
def test_any_messages_however_they_are_cut(framing: Framing, messages: list[bytes], places: list[int]) -> None:
    if isinstance(framing, Delimited):
        messages = [message.replace(b"\r", b"").replace(b"\n", b"") for message in messages]
    data = b"".join(framing.wrap(message) for message in messages)
    assert read(framing, cut(data, places)) == (messages, b"")


@given(FRAMINGS, st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes_are_the_same_messages_however_they_are_cut(framing: Framing, data: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return read(framing, pieces)
        except PeerError:
            return PeerError

    assert outcome([data]) == outcome(each(data)) == outcome(cut(data, places))
