"""The fast path on real servers: what is answered in C is answered byte for byte as plain Python answers it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from allcomers.protocol import compiled as leaf
from support.harness import Server, receive_all, serving
from support.strategies import damaged, heads_of_requests, mutated

pytestmark = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")

APP = """
import allcomers

def wsgi(environ, start_response):
    said = [f"{name}={value}" for name, value in sorted(environ.items()) if isinstance(value, str)]
    told = [line for line in said if not line.startswith(("REMOTE_PORT", "SERVER_PORT"))]
    body = "\\n".join([*told, str(len(environ["wsgi.input"].read()))]).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]

class Web(allcomers.Web):
    def get(self, request):
        return f"{request.path} {request.query} {sorted(request.headers.items())}"
"""
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module", params=["wsgi auto", "wsgi inline", "Web auto"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A compiled server and one that is plain Python; a broken request is in no log that a test looks at."""
    name, calls = request.param.split()
    path: Path = tmp_path_factory.mktemp("express") / "app.py"
    path.write_text(APP)
    arguments = ("run", f"{path}:{name}", "--calls", calls)
    with serving(*arguments) as compiled, serving(*arguments, env={"ALLCOMERS_PURE": "1"}) as plain:
        yield compiled, plain


def told(server: Server, data: bytes) -> bytes:
    """All that the server says, less what depends on the moment: dates, ports, whether our end had come by then."""
    with server.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return re.sub(rb"Date: [^\r]*\r\n|Connection: close\r\n|:%d" % server.address[1], b"", receive_all(sock))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(heads_of_requests(), max_size=3).map(b"".join) | damaged() | mutated() | st.binary(max_size=60))
@example(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" * 3)
@example(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000)
@example(b"GET /" + b"y" * 16_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
def test_it_answers_as_plain_python_does(pair: tuple[Server, Server], data: bytes) -> None:
    compiled, plain = (told(server, data + LAST) for server in pair)
    assert compiled == plain
