"""--header and --no-date-header: on each response, by every way on which one is sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allcomers import Request, Web
from allcomers.config.options import Config, make
from allcomers.errors import ConfigError
from allcomers.server.endpoint import endpoint
from support.harness import Server, ask, receive_all, serving

APP = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Server", "mine"), ("Date", "never")] if path == "/own" else [])
    return iter([b"a", b"b"]) if path == "/stream" else [b"ab"]
"""

LINES = ("GET / HTTP/1.1", "GET /stream HTTP/1.1", "GET /fail HTTP/1.1", "GET / HTTP/2.0", "GET / / HTTP/1.1")
"""A small response, one in pieces, an app's failure, a refusal, a bad request."""

CASES = [("epoll", {}), ("epoll", {"ALLCOMERS_PURE": "1"}), ("process", {}), ("thread", {}), ("asyncio", {})]


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "app.py").write_text(APP)
    return f"{tmp_path / 'app.py'}:app"


def fields(response: bytes) -> dict[str, list[str]]:
    """Return {name in lower case: its values}."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"(?m)^([\w-]+): ?(.*)\r$", response.partition(b"\r\n\r\n")[0].decode() + "\r\n"):
        found.setdefault(name.lower(), []).append(value)
    return found


def answers(server: Server) -> list[bytes]:
    """Return a response of each kind, then some of one connection: on the fast path, if there is one."""
    single = [ask(server, f"{line}\r\nHost: a\r\nConnection: close\r\n\r\n".encode()) for line in LINES]
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + b"GET / HTTP/1.0\r\n\r\n")
        several = re.split(rb"(?=HTTP/1\.1 200 OK)", receive_all(sock))[1:]
    assert len(several) == 3
    return single + several


@pytest.mark.parametrize(("model", "env"), CASES)
def test_each_response_has_the_headers(target: str, model: str, env: dict[str, str]) -> None:
    options = ["--header", "X-Frame-Options: DENY", "--header", "Cache-Control:no-cache, private"]
    with serving("run", target, "-m", model, *options, env=env, quiet=False) as server:
        for answer in (*answers(server), own := ask(server, b"GET /own HTTP/1.0\r\n\r\n")):
            found = fields(answer)
            assert (found["x-frame-options"], found["cache-control"]) == (["DENY"], ["no-cache, private"]), answer
            assert len(found["date"]) == 1
        assert fields(own)["server"] == ["mine"]


@pytest.mark.parametrize(("model", "env"), CASES)
def test_no_response_has_a_date(target: str, model: str, env: dict[str, str]) -> None:
    with serving("run", target, "-m", model, "--no-date-header", env=env, quiet=False) as server:
        for answer in answers(server):
            assert "date" not in fields(answer), answer
        assert fields(ask(server, b"GET /own HTTP/1.0\r\n\r\n"))["date"] == ["never"]


@pytest.mark.parametrize("flag", ["--server-header", "--no-server-header"])
def test_a_server_of_another_name(target: str, flag: str) -> None:
    with serving("run", target, "--header", "server:nobody", "--header", "X-A:1", flag) as server:
        found = fields(ask(server, b"GET / HTTP/1.0\r\n\r\n"))
        assert (found["server"], found["x-a"]) == (["nobody"], ["1"])
        found = fields(ask(server, b"GET /own HTTP/1.0\r\n\r\n"))
        assert (found["server"], found["x-a"]) == (["mine"], ["1"])


def test_headers_of_the_environment_stand_on_lines_of_their_own(target: str) -> None:
    with serving("run", target, env={"ALLCOMERS_HEADER": "X-A: 1, 2\nX-B: 3"}) as server:
        found = fields(ask(server, b"GET / HTTP/1.0\r\n\r\n"))
        assert (found["x-a"], found["x-b"]) == (["1, 2"], ["3"])


class Page(Web):
    def get(self, request: Request) -> bytes:
        return b""


def test_the_response_to_one_too_many_has_them() -> None:
    assert b"X-A: 1\r\n" in endpoint(Page, Config(header=("X-A:1",)), None).busy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X-A", "is not NAME:VALUE"),
        (":a", "is not NAME:VALUE"),
        ("X A:b", "is not NAME:VALUE"),
        ("X-A:a\r\nX-B:b", "a character that no header can carry"),
        ("X-A:\u20ac", "a character that no header can carry"),
        ("Content-length:3", "Content-length is the server's own"),
        ("Date:now", "Date is the server's own"),
    ],
)
def test_what_is_no_header_of_an_operator_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"^--header: ") as caught:
        make({"header": [text]})
    assert expected in str(caught.value)
