"""--server-header: each response names the server once, and none does with --no-server-header."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from allcomers import Request, Web
from allcomers.config.options import Config
from allcomers.server.endpoint import endpoint
from support.certificates import Certificate
from support.harness import ROOT, Server, ask, chosen, receive_all, serving

APPS = """
import allcomers


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise RuntimeError("on purpose")
    headers = [("Server", "mine")] if path == "/own" else []
    start_response("200 OK", headers)
    return iter([b"a", b"b"]) if path == "/stream" else [b"ab"]


async def asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    path = scope["path"]
    if path == "/fail":
        raise RuntimeError("on purpose")
    headers = [(b"server", b"mine")] if path == "/own" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/stream":
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


class Page(allcomers.Web):
    def get(self, request):
        if request.path == "/fail":
            raise RuntimeError("on purpose")
        if request.path == "/own":
            return allcomers.Response(b"ab", headers=[("Server", "mine")])
        return iter([b"a", b"b"]) if request.path == "/stream" else b"ab"
"""

CASES = chosen(
    [
        ("wsgi", "epoll", {}), ("wsgi", "thread", {}), ("wsgi", "epoll", {"ALLCOMERS_PURE": "1"}),
        ("asgi", "asyncio", {}), ("asgi", "epoll", {"ALLCOMERS_PURE": "1"}), ("asgi", "process", {}),
        ("Page", "epoll", {}), ("Page", "thread-pool", {}),
    ],
    [
        (app, model, env) for app in ("wsgi", "asgi", "Page") for env in ({}, {"ALLCOMERS_PURE": "1"})
        for model in ("iterative", "process", "thread", "thread-pool", "select", "poll", "epoll", "epoll-et", "asyncio")
    ],
)  # fmt: skip
"""An app, a model, a build."""

REQUESTS = {
    "a small answer": (200, "GET / HTTP/1.1"),
    "one in pieces": (200, "GET /stream HTTP/1.1"),
    "one to HTTP/1.0": (200, "GET / HTTP/1.0"),
    "an app's failure": (500, "GET /fail HTTP/1.1"),
    "a refusal": (505, "GET / HTTP/2.0"),
    "a bad request": (400, "GET / / HTTP/1.1"),
}


def names(head: bytes) -> list[bytes]:
    """Return the values of all Server fields."""
    return re.findall(rb"(?im)^server: ?(.*)\r$", head.partition(b"\r\n\r\n")[0] + b"\r\n")


def heads(server: Server) -> dict[str, bytes]:
    found = {}
    for what, (status, line) in REQUESTS.items():
        answer = ask(server, f"{line}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status), (what, answer)
        found[what] = answer.partition(b"\r\n\r\n")[0]
    return found


def several(server: Server) -> list[bytes]:
    """Return the heads of responses on one connection that stays open: on the fast path, if there is one."""
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return receive_all(sock).split(b"HTTP/1.1 200 OK")[1:]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "apps.py").write_text(APPS)
    return tmp_path / "apps.py"


@pytest.mark.parametrize(("app", "model", "env"), CASES)
@pytest.mark.parametrize("flag", ["--server-header", "--no-server-header"])
def test_all_answers_have_it_or_none(target: Path, app: str, model: str, env: dict[str, str], flag: str) -> None:
    expected = [b"allcomers"] if flag == "--server-header" else []
    with serving("run", f"{target}:{app}", "-m", model, flag, env=env, quiet=False) as server:
        assert {what: names(head) for what, head in heads(server).items()} == dict.fromkeys(REQUESTS, expected)
        assert [names(head) for head in several(server)] == [expected] * 3
        own = ask(server, b"GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert names(own) == [b"mine"]


def test_it_is_there_unless_the_flag_takes_it_away(target: Path) -> None:
    with serving("run", f"{target}:wsgi") as server:
        assert names(ask(server, b"GET / HTTP/1.0\r\n\r\n")) == [b"allcomers"]
    with serving("run", f"{target}:wsgi", env={"ALLCOMERS_SERVER_HEADER": "off"}) as server:
        assert names(ask(server, b"GET / HTTP/1.0\r\n\r\n")) == []


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %d\r\n\r\n"
)


def handshake(server: Server, version: int) -> bytes:
    with server.connect() as sock:
        sock.sendall(HANDSHAKE % version)
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock)


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
@pytest.mark.parametrize("flag", ["--server-header", "--no-server-header"])
def test_handshakes(target: Path, model: str, flag: str) -> None:
    expected = [b"allcomers"] if flag == "--server-header" else []
    with serving("run", f"{target}:asgi", "-m", model, flag) as server:
        for version, status in ((13, b"101"), (12, b"426")):
            answer = handshake(server, version)
            assert answer.split(b" ", 2)[1] == status
            assert names(answer) == expected


@pytest.mark.parametrize("flag", ["--server-header", "--no-server-header"])
def test_a_site_and_the_admin_s_page(certificate: Certificate, flag: str) -> None:
    """Check a file, a folder's redirection and a missing file; in TLS, too; and the operator's page."""
    expected = [b"allcomers"] if flag == "--server-header" else []
    options = ["--certfile", str(certificate.pem), "--admin", "127.0.0.1:0", flag]
    with serving("serve", "examples/site", *options, cwd=ROOT) as server:
        for path in ("/", "/nothing", "/%00"):
            with server.connect(certificate.trusted) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                assert names(receive_all(sock)) == expected
        found = re.search(r"Admin at: http://([\d.]+):(\d+)", server.stderr)
        assert found is not None
        with socket.create_connection((found[1], int(found[2]))) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert names(receive_all(sock)) == expected


class Page(Web):
    def get(self, request: Request) -> bytes:
        return b""


def test_what_is_said_when_no_place_is_free() -> None:
    assert names(endpoint(Page, Config(), None).busy) == [b"allcomers"]
    assert names(endpoint(Page, Config(server_header=False), None).busy) == []
