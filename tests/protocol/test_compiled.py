"""The compiled leaf against the plain Python, which is its specification, and against llhttp and h11.

Each test of the other files that reads a stream whole and byte by byte compares the two builds already, for the leaf
reads only whole heads. Here the two get the same bytes at once.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.apps.wsgi.environ import key_of
from allcomers.connection.http import response_head
from allcomers.errors import AnswerError
from allcomers.protocol import compiled as leaf
from allcomers.protocol import encode
from allcomers.protocol import head as heads
from allcomers.protocol.encode import named_status
from allcomers.protocol.message import Request, Response
from support.builds import plain, same
from support.strategies import bodies_in_chunks, damaged, heads_of_requests, mutated
from support.streams import cut

needs_leaf = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")


def test_it_is_compiled() -> None:
    """No build falls back in silence: this fails without a compiler, unless plain Python was requested."""
    wanted = not os.environ.get("ALLCOMERS_PURE") and getattr(sys, "_is_gil_enabled", lambda: True)()
    assert wanted == leaf.COMPILED


@pytest.mark.parametrize("pure", ["", "1"])
def test_which_one_runs_is_told(pure: str) -> None:
    command = [sys.executable, "-m", "allcomers", "--version"]
    said = subprocess.run(command, env=os.environ | {"ALLCOMERS_PURE": pure}, capture_output=True, text=True).stdout
    compiled = not pure and importlib.util.find_spec("allcomers.protocol._head") is not None
    assert f"({'compiled' if compiled else 'plain Python'})" in said


# ---------------------------------------------------------------- bodies


@needs_leaf
@settings(max_examples=300)
@given(bodies_in_chunks(), st.lists(st.integers(0, 12_000), max_size=4), st.sampled_from([6000, 1 << 20]))
@example(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [], 6000)
def test_a_body_in_chunks_is_the_same(coded: bytes, places: list[int], most: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    same([head, *cut(coded, places)], max_body=most)


# ---------------------------------------------------------------- heads


@needs_leaf
@settings(max_examples=400)
@given(heads_of_requests())
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 000000000000000001\r\n\r\n!")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nA: \x7f1234567\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nA: 12345678\x1f\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nA: \x80\xff\t 345678\xa0\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: 1\r\naccept: 1\r\nCookie: \r\ncookie:\r\n\r\n")
def test_heads_are_read_as_in_plain_python(data: bytes) -> None:
    same([data])


@needs_leaf
@settings(max_examples=400)
@given(damaged() | mutated() | st.binary(max_size=60), st.lists(st.integers(0, 400), max_size=4))
def test_any_bytes_are_read_as_in_plain_python(data: bytes, places: list[int]) -> None:
    same([data])
    same(cut(data, places))


@needs_leaf
@settings(max_examples=200)
@given(heads_of_requests(), st.integers(1, 300), st.integers(1, 6))
def test_limits_are_those_of_plain_python(data: bytes, max_head: int, max_headers: int) -> None:
    same([data], max_head=max_head, max_headers=max_headers)


@needs_leaf
@pytest.mark.parametrize("byte", range(256))
def test_each_byte_in_each_place(byte: int) -> None:
    one = bytes([byte])
    for data in (
        b"G%bT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA%bB: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: 1234567%b90123456\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1%b\r\n\r\n!",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close%b\r\n\r\n",
    ):
        same([data % one])


@needs_leaf
def test_what_is_common_is_taken() -> None:
    """Common heads are read by the leaf: else the other tests here would compare plain Python with itself."""
    data = b"GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nConnection: keep-alive\r\n\r\n"
    heads.known_hosts[b"a"] = "a"
    for more in (b"", b"GET"):
        head = Request.__new__(Request)
        assert leaf.read_head(data + more, 32768, 100, head, heads.known_hosts) == len(data)
        assert head.lines == b"Host: a\r\nUser-Agent: b\r\nConnection: keep-alive\r\n"


@needs_leaf
@given(st.binary(max_size=80) | heads_of_requests().map(lambda head: head.partition(b"\n")[2]))
def test_lines_that_nobody_checked_are_no_danger(lines: bytes) -> None:
    """The leaf checks lines before it uses them; even for unchecked ones it reads nothing beyond their end."""
    for made in (leaf.split(lines), leaf.scope_headers(lines)):
        assert sum(len(name) + len(value) for name, value in made) <= len(lines)
    leaf.add_to_environ({}, lines, {}, key_of)


@needs_leaf
def test_names_that_are_known() -> None:
    from allcomers.protocol import _fields

    for name in _fields.KNOWN:
        for seen in (name, name.title(), name.upper()):
            environ: dict[str, Any] = {}
            leaf.add_to_environ(environ, seen + b": a\r\n", {}, print)  # type: ignore[arg-type]
            assert environ == {key_of(seen): "a"}
            assert leaf.scope_headers(seen + b": a\r\n") == [(name, b"a")]


# ---------------------------------------------------------------- oracles


class Heard:
    """A request as llhttp reads it."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


_METHODS = {"GET", "POST", "HEAD", "OPTIONS"}  # llhttp knows no other of those above


@needs_leaf
@settings(max_examples=400)
@given(heads_of_requests() | damaged())
def test_llhttp_and_h11_take_what_the_leaf_takes(data: bytes) -> None:
    heads.known_hosts[b"a"] = "a"
    head = Request.__new__(Request)
    size = leaf.read_head(data, 32768, 100, head, heads.known_hosts)
    if not size:
        return
    fields = [(name, value.strip(b" \t")) for name, value in head.fields]
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(data[:size])
    event = conn.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target.decode()) == (head.method, head.target)
    assert [name.lower() for name, _ in fields] == [name for name, _ in event.headers]
    if head.method in _METHODS:
        theirs = Heard(data[:size])
        assert theirs.parser.get_method().decode() == head.method
        assert theirs.parser.get_http_version() == head.version
        assert (theirs.url.decode(), theirs.fields) == (head.target, fields)
        if not head.expects and head.length is None and not head.chunked:
            assert theirs.parser.should_keep_alive() == head.persists


# ---------------------------------------------------------------- answers

_field = st.tuples(
    st.sampled_from(["Content-Type", "X-A", "Date", "Server", "Connection", "Content-Length", "Bad Name", "ETag"]),
    st.sampled_from(["text/plain", "a", "ä", "close", "13", "", "a\r\nb: c", "x" * 250]),
)
_response = st.builds(
    Response,
    st.just(b""),
    status=st.sampled_from([200, 201, 204, 304, 404, 500, 599, 999, 199, named_status(200, b"Fine")]),
    headers=st.lists(_field, max_size=3),
)


@needs_leaf
@settings(max_examples=300)
@given(
    st.tuples(st.sampled_from(["GET", "HEAD"]), st.just("/"), st.sampled_from(["1.0", "1.1"])),
    _response,
    st.none() | st.integers(0, 12) | st.sampled_from([99, 100, 2**31, 2**62, 10**18]),
    st.booleans(),
    st.sampled_from([encode.SERVER, b""]),
)
def test_answers_are_planned_as_in_plain_python(
    asked: tuple[str, str, str], response: Response, size: int | None, persists: bool, server: bytes
) -> None:
    def planned() -> Any:
        try:
            return response_head.plan(asked, response, size, persists, b"Date: now\r\n", server)
        except AnswerError as error:
            return str(error)

    with plain():
        expected = planned()
    assert planned() == expected


@needs_leaf
def test_headers_that_cannot_be_looked_up() -> None:
    response = Response(b"", headers=[["A", "b"]])  # type: ignore[list-item]
    head = response_head.plan(("GET", "/", "1.1"), response, 0, True, b"", b"")[0]
    assert b"\r\nA: b\r\n" in head
