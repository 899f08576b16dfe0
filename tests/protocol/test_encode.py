"""Heads that are written: status lines, and fields as an app gives them."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import AnswerError
from allcomers.protocol import encode
from allcomers.protocol import head as heads
from allcomers.protocol.encode import encode_fields, status_line


def test_status_lines() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(HTTPStatus.NOT_FOUND) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(299) == b"HTTP/1.1 299 \r\n"


@pytest.mark.parametrize("code", [100, 101, 199, 0, -200, 1000, "200", "200 OK\r\nX: y", 200.5, None, [200], True])
def test_a_status_that_is_none(code: object) -> None:
    with pytest.raises(AnswerError):
        status_line(code)  # type: ignore[arg-type]


def lines_of(*headers: object) -> bytes:
    pairs: Iterable[tuple[str, str]] = headers  # type: ignore[assignment]
    return encode_fields(pairs)[0]


def test_fields_go_out_as_given() -> None:
    for _ in range(2):  # the second time, they are known
        assert lines_of(("A", "b"), ("X-É".replace("É", "E"), "é\t \x80"), ("A", "c")) == (
            b"A: b\r\nX-E: \xe9\t \x80\r\nA: c\r\n"
        )
    assert lines_of(["A", "b"]) == b"A: b\r\n"
    assert lines_of() == b""


def test_the_servers_own_fields_are_told_apart() -> None:
    headers = [("Content-Length", "5"), ("CONNECTION", "close"), ("Date", "x"), ("server", "y"), ("A", "b")]
    block, ours = encode_fields([*headers, ("Transfer-Encoding", "chunked"), ("Keep-Alive", "z")])
    assert block == b"A: b\r\n"
    assert ours == {
        "content-length": "5", "connection": "close", "date": "x", "server": "y",
        "transfer-encoding": "chunked", "keep-alive": "z",
    }  # fmt: skip
    for name in ("Content-Length", "Transfer-Encoding"):
        assert encode_fields([(name, "0")])[0] == b""  # never taken for known


@pytest.mark.parametrize(
    "header",
    [
        ("A", "b\r\nC: d"), ("A", "b\n"), ("A", "b\r"), ("A", "\0"), ("A", "\x7f"), ("A", "\x1b[0m"), ("A", "\x0b"),
        ("A", "\u010a"), ("A", "\u560a\u560d"), ("A", "\udc80"), ("A\r\nB", "c"), ("A:", "b"), ("A ", "b"), (" A", "b"),
        ("", "b"), ("É", "b"), ("A\0", "b"), ("A", 5), ("A", None), (b"A", b"b"), ("A", b"b"), (5, "b"), ("A",),
        ("A", "b", "c"), "A: b", 5, None, ("A", ["b"]), {"A": "b"},
    ],
)  # fmt: skip
def test_fields_that_no_header_can_carry(header: object) -> None:
    with pytest.raises(AnswerError):
        lines_of(("Good", "value"), header)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_field_writes_another_line(name: str, content: str) -> None:
    try:
        block = lines_of((name, content))
    except AnswerError:
        return
    assert block.count(b"\r") == block.count(b"\n") == (1 if block else 0)
    assert b"\0" not in block


def test_the_memory_of_fields_is_bounded() -> None:
    for number in range(3000):
        encode_fields([("X-Number", str(number))])
    encode_fields([("X-Long", "x" * 1000)])
    assert 0 < len(encode._known) <= heads._MOST_KNOWN
    assert max(map(len, encode._known.values())) < 300
