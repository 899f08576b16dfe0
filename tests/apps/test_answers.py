"""Answers of apps: byte for byte the same from the compiled server and from plain Python, with the same errors logged.

An app of each interface does what hypothesis draws (support/apps/told_apps.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from allcomers.protocol import compiled as leaf
from support.apps.told_apps import encoded
from support.harness import ROOT, Server, receive_all, serving, wait_for

pytestmark = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")

PLAIN = b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"
SEEN = b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

STATUSES = [
    "200 OK", "200 OK", "200 Fine", "201 Created", "204 No Content", "205 Reset Content", "304 Not Modified",
    "103 Early Hints", "404 Not Found", "500 Internal Server Error", "799 Own", "200", "2x", "099 Low",
]  # fmt: skip
HEADERS = [
    ("Content-Type", "text/plain"), ("Content-Length", "0"), ("Content-Length", "3"), ("Content-Length", "6"),
    ("content-length", "6"), ("Content-Length", "x"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Own", "é"),
    ("Connection", "close"), ("Connection", "keep-alive"), ("Keep-Alive", "5"), ("Transfer-Encoding", "chunked"),
    ("Date", "today"), ("Server", "own"), ("X: Bad", "1"), ("X-Bad", "a\nb"), ("Upgrade", "h2c"),
]  # fmt: skip
BLOCKS = st.lists(st.sampled_from(["", "abc", "abcdef", "x" * 20_000]), max_size=3)
SHAPES = ["list", "list", "tuple", "closing", "iterator", "sized", "generator", "file", "filelike", "bytes", "text"]
PROGRAMS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(STATUSES),
        "headers": st.lists(st.sampled_from(HEADERS), max_size=3),
        "writes": st.one_of(st.just([]), BLOCKS),
        "again": st.sampled_from(["", "", "started", "written", "iterating"]),
        "exc_info": st.booleans(),
        "swallows": st.booleans(),
        "late": st.sampled_from([False, False, True]),
        "shape": st.sampled_from(SHAPES),
        "blocks": BLOCKS,
        "raises": st.sampled_from(["", "", "", "call", "iterating", "close"]),
    }
)
COMMON: dict[str, Any] = {
    "status": "200 OK", "headers": [("Set-Cookie", "a=1")], "writes": [], "again": "", "exc_info": True,
    "swallows": False, "late": False, "shape": "list", "blocks": ["abc"], "raises": "",
}  # fmt: skip
HEADS = [
    b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET %b HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
]


@pytest.fixture(
    scope="module",
    params=["wsgi auto", "wsgi inline", "wsgi pool", "Web auto", "Web pool", "asgi auto"],
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A compiled server, and one of plain Python; both write each entry of their logs, however many there are."""
    name, calls = request.param.split()
    arguments = ("run", f"{ROOT}/tests/support/apps/told_apps.py:{name}", "--calls", calls)
    folder = tmp_path_factory.mktemp("pair")
    (folder / "sitecustomize.py").write_text("from allcomers.server import error_log\nerror_log.BURST = 1_000_000\n")
    path = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}/tests"}
    with (
        serving(*arguments, quiet=False, env={**path, "ALLCOMERS_PURE": ""}) as compiled,
        serving(*arguments, quiet=False, env={**path, "ALLCOMERS_PURE": "1"}) as plain,
    ):
        yield compiled, plain


def talk(server: Server, data: bytes) -> bytes:
    """Return all that an idle peer receives that sends `data`; without the time of day."""
    with server.connect() as sock:
        sock.sendall(PLAIN)
        heard = b""
        while not heard.endswith(b"plain\n"):
            heard += sock.recv(65536)
        sock.sendall(data)
        return re.sub(rb"Date: [^\r]* GMT\r\n", b"Date\r\n", receive_all(sock))


def notes(server: Server) -> list[bytes]:
    """Return the app's notes since the last call."""
    return talk(server, SEEN).partition(b"\r\n\r\n")[2].splitlines()


def failures(server: Server, begin: int) -> list[str]:
    """Return the errors that the log tells of from there on, and what they are of; without addresses in memory."""
    log = re.sub(r" at 0x[0-9a-f]+", "", server.stderr[begin:])
    return re.findall(r"(?:ERROR|WARNING) .*|^ *(?:\w+\.)*(?:\w+Error|Deliberate)\b.*", log, re.M)


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(PROGRAMS, st.sampled_from(HEADS), st.integers(1, 3))
@example({**COMMON, "again": "started"}, HEADS[0], 1)
@example({**COMMON, "again": "written", "writes": ["abc"]}, HEADS[0], 1)
@example({**COMMON, "again": "iterating", "shape": "generator", "blocks": ["", "abc"]}, HEADS[0], 1)
@example({**COMMON, "again": "started", "exc_info": False, "swallows": True}, HEADS[0], 2)
@example({**COMMON, "status": "205 Reset Content"}, HEADS[0], 2)
@example({**COMMON, "status": "204 No Content"}, HEADS[1], 2)
@example({**COMMON, "late": True, "again": "started"}, HEADS[0], 3)
def test_an_answer_is_what_it_is_in_plain_python(
    pair: tuple[Server, Server], program: dict[str, Any], head: bytes, count: int
) -> None:
    data = head % encoded(program).encode() * count + SEEN.replace(b"seen", b"plain")
    compiled, plain = pair
    before = [len(server.stderr) for server in pair]
    assert talk(compiled, data) == talk(plain, data)
    noted: tuple[list[bytes], list[bytes]] = ([], [])

    def same() -> bool:
        for server, found in zip(pair, noted, strict=True):
            found += notes(server)
        return sorted(noted[0]) == sorted(noted[1])

    wait_for(same, f"both apps to note the same, not {noted}")

    def logged() -> list[list[str]]:
        return [sorted(failures(server, begin)) for server, begin in zip(pair, before, strict=True)]

    wait_for(lambda: logged()[0] == logged()[1], f"both logs to tell the same, not {logged()}")
