"""WSGI and ASGI apps in routes(), and folders in front of any app, over sockets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import allcomers
from allcomers.config import options
from allcomers.errors import ConfigError
from support.certificates import Certificate
from support.harness import ROOT, Server, receive_all, serving

APPS = "tests/support/apps/joined.py"
INDEX = (ROOT / "examples" / "site" / "index.html").read_bytes()

MODELS = ["epoll", "asyncio", "select", "thread", "iterative"]
BUILDS = [("epoll", "1"), ("asyncio", "1"), *((model, "") for model in MODELS)]


def get(server: Server, *targets: str, more: bytes = b"", method: str = "GET", body: bytes = b"") -> list[Any]:
    """Return (status, body) of each of these requests of one connection; a JSON body as an object."""
    requests = [
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode()
        + (b"Connection: close\r\n" if target is targets[-1] else b"")
        + more
        + b"\r\n"
        + body
        for target in targets
    ]
    with server.connect() as sock:
        found = []
        data = b""
        for request in requests:
            sock.sendall(request)
            while not (response := _whole(data)):
                piece = sock.recv(65536)
                if not piece:
                    raise AssertionError(f"the end after {data!r}")
                data += piece
            status, content, data = response
            found.append((status, json.loads(content) if content[:1] == b"{" else content))
        return found


def _whole(data: bytes) -> tuple[int, bytes, bytes] | None:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    length = re.search(rb"(?i)content-length: (\d+)", head)
    size = int(length[1]) if length else 0
    return (int(head[9:12]), rest[:size], rest[size:]) if len(rest) >= size else None


def seen(kind: str, root: str, path: str, length: int = 0) -> dict[str, Any]:
    return {"kind": kind, "root": root, "path": path, "scheme": "http", "length": length}


@pytest.mark.parametrize(("model", "pure"), BUILDS)
def test_each_kind_finds_its_prefix_path_and_body(model: str, pure: str) -> None:
    targets = {
        "/w/x%20y?q": seen("wsgi", "/w", "/x y"),
        "/web/": seen("web", "/web", "/"),
        "/a/b/c": seen("asgi", "/a", "/a/b/c"),
        "/deep/w/1": seen("wsgi", "/deep/w", "/1"),
        "/deep/a/1": seen("asgi", "/deep/a", "/deep/a/1"),
        "/deep/web/1": seen("web", "/deep/web", "/1"),
        "/one": seen("wsgi", "", "/one"),
        "/else": seen("asgi", "", "/else"),
    }
    with serving("run", f"{APPS}:mixed", "--model", model, env={"ALLCOMERS_PURE": pure}) as server:
        for length in (0, 5, 700_000):
            found = get(server, *targets, method="POST", body=b"x" * length)
            for (status, value), (target, expected) in zip(found, targets.items(), strict=True):
                assert status == 200, target
                assert {key: value[key] for key in expected} == expected | {"length": length}, target
        assert found[2][1]["state"] == found[4][1]["state"] == "first"
        assert found[7][1]["state"] == "second"
        assert get(server, "/files/", "/a", "/deep/none", "/%2e/x", "/w") == [
            (200, INDEX), (307, b""), (404, b"Not Found\n"),
            (400, b"A path with a . or .. segment is refused.\n"), (307, b""),
        ]  # fmt: skip
        wait = server.stop()
        assert wait == 0
        for name in ("first", "second"):
            assert len(re.findall(rf"{name} (started|stopped) \d+\n", server.stderr)) == 2


@pytest.mark.parametrize(("model", "pure"), BUILDS)
def test_parameters_of_the_path_reach_each_kind(model: str, pure: str) -> None:
    targets = {
        "/x%ff%e2%82%ac/w/1": seen("wsgi", "/x\xff\xe2\x82\xac/w", "/1") | {"params": {"team": "x\udcff€"}},
        "/x%ff%e2%82%ac/a/1": seen("asgi", "/x\ufffd€/a", "/x\ufffd€/a/1") | {"params": {"team": "x\udcff€"}},
        "/x%ff%e2%82%ac/async/1": seen("async", "/x\udcff€/async", "/1") | {"params": {"team": "x\udcff€"}},
        "/w/7": seen("wsgi", "", "/w/7") | {"params": {"id": 7}},
        "/a/7": seen("asgi", "", "/a/7") | {"params": {"id": 7}},
        "/async/7": seen("async", "", "/async/7") | {"params": {"id": 7}},
        "/nested/x/7": seen("async", "/nested/x", "/7") | {"params": {"team": "x", "id": 7}},
        "/nested/x/plain": seen("web", "/nested/x", "/plain"),
    }
    with serving("run", f"{APPS}:patterns", "--model", model, env={"ALLCOMERS_PURE": pure}) as server:
        found = get(server, *targets, method="POST", body=b"x" * 5)
        for (status, value), (target, expected) in zip(found, targets.items(), strict=True):
            assert status == 200, target
            assert {key: value[key] for key in expected} == expected | {"length": 5}, target
        assert server.stop() == 0


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_parameters_of_the_path_reach_tasks_of_the_loop(model: str) -> None:
    with serving("run", f"{APPS}:asynchronous_patterns", "--model", model) as server:
        found = get(server, "/a/7", "/other", "/async/7", "/end")
    assert [value["params"] for _, value in found] == [{"id": 7}, {}, {"id": 7}, {}]
    assert [value["kind"] for _, value in found] == ["asgi", "asgi", "async", "asgi"]


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_an_async_class_behind_folders(model: str) -> None:
    options = ["--static", "/static=examples/site", "--model", model, "--lifespan", "on"]
    with serving("run", f"{APPS}:AsyncSeen", *options) as server:
        found = get(server, "/static/", "/x")
        assert found[0] == (200, INDEX)
        assert found[1][1].items() >= seen("async", "", "/x").items()
        assert server.stop() == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["synchronous", "asynchronous"])
def test_tables_of_one_way_to_be_called(model: str, name: str) -> None:
    with serving("run", f"{APPS}:{name}", "--model", model) as server:
        root, other = ("/w", "wsgi") if name == "synchronous" else ("/a", "asgi")
        found = get(server, f"{root}/x", "/y", "/files/", "/y", f"{root}/x")
        path = "/x" if other == "wsgi" else "/a/x"
        for at in (0, 4):
            assert found[at][1].items() >= seen(other, root, path).items()
        for at in (1, 3):
            assert found[at][1].items() >= seen(other, "", "/y").items()
        assert found[2] == (200, INDEX)


@pytest.mark.parametrize(("calls", "in_main"), [("inline", True), ("pool", False), ("", False)])
def test_a_wsgi_app_beside_an_asgi_app_keeps_its_calls(calls: str, in_main: bool) -> None:
    arguments = ["--calls", calls] if calls else []
    with serving("run", f"{APPS}:mixed", *arguments) as server:
        assert get(server, "/w/x")[0][1]["in_main"] is in_main
        assert get(server, "/a/x")[0][1]["kind"] == "asgi"


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_call_timeout_of_a_table_with_both(model: str) -> None:
    with serving("run", f"{APPS}:mixed", "--model", model, "--call-timeout", "20") as server:
        assert [status for status, _ in get(server, "/w/x", "/a/x", "/web/", "/files/")] == [200] * 4


def test_root_path_and_a_prefix_add_up() -> None:
    with serving("run", f"{APPS}:mixed", "--root-path", "/outer") as server:
        wsgi, asgi, whole = get(server, "/w/x", "/a/x", "/y")
        assert wsgi[1].items() >= seen("wsgi", "/outer/w", "/x").items()
        assert asgi[1].items() >= seen("asgi", "/outer/a", "/outer/a/x").items()
        assert whole[1].items() >= seen("asgi", "/outer", "/outer/y").items()


def test_a_websocket_below_a_prefix() -> None:
    websockets = pytest.importorskip("websockets.sync.client")
    with serving("run", f"{APPS}:mixed") as server:
        for path, expected in (("/a/ws", "first /a /a/ws"), ("/ws", "second  /ws")):
            url = "ws://{}:{}{}".format(*server.address, path)
            with websockets.connect(url, proxy=None) as socket:
                assert socket.recv(timeout=10) == expected


def test_two_workers_each_with_its_lifespans() -> None:
    with serving("run", f"{APPS}:asynchronous", "--workers", "2") as server:
        assert server.stop() == 0
    assert len(set(re.findall(r"first started (\d+)", server.stderr))) == 2
    assert len(set(re.findall(r"second stopped (\d+)", server.stderr))) == 2


@pytest.mark.parametrize(
    ("target", "arguments", "says"),
    [
        ("failing", [], "third has no database"),
        ("bad", ["--factory"], "routes: '/echo/': a Service has no paths"),
        ("Echo", ["--static", "/static=examples/site"], "--static: a service has no paths"),
        ("wsgi", ["--static", "/static=nowhere"], "--static /static=nowhere: "),
    ],
)
def test_what_cannot_be_joined_is_told_at_the_start(target: str, arguments: list[str], says: str) -> None:
    server = Server("run", f"{APPS}:{target}", *arguments)
    assert server.process.wait(30) in (2, 3)
    server.stop()
    assert says in server.stderr
    if target == "failing":
        assert "first stopped" in server.stderr


@pytest.mark.parametrize("value", [lambda a, b, c, d: None, lambda: None, lambda *, key: None])
def test_what_no_server_could_call_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"routes: '/': .*takes other arguments than a handler"):
        allcomers.routes({"/": value})


# ---------------------------------------------------------------- --static


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("0123456789")
    (tmp_path / "a.txt.gz").write_bytes(b"squeezed")
    (tmp_path / "large.bin").write_bytes(b"x" * 300_000)
    return tmp_path


@pytest.mark.parametrize(
    ("app", "model", "pure"),
    [
        *(("first", *build) for build in BUILDS),
        ("wsgi", "epoll", ""), ("wsgi", "asyncio", "1"), ("wsgi", "process", ""), ("wsgi", "thread", ""),
        ("Seen", "epoll", "1"), ("Seen", "asyncio", ""), ("mixed", "asyncio", ""), ("mixed", "epoll", ""),
    ],
)  # fmt: skip
def test_files_beside_any_app(model: str, pure: str, app: str, folder: Path) -> None:
    arguments = ["--static", f"/static={folder}", "--static", "/static/site/=examples/site", "--model", model]
    with serving("run", f"{APPS}:{app}", *arguments, env={"ALLCOMERS_PURE": pure}) as server:
        other = {"wsgi": "wsgi", "Seen": "web"}.get(app, "asgi")
        found = get(server, "/static/a.txt", "/x", "/static/large.bin", "/static/site/", "/staticx", "/static/none")
        assert [status for status, _ in found] == [200, 200, 200, 200, 200, 404]
        assert found[0][1] == b"0123456789"
        assert found[1][1].items() >= seen(other, "", "/x").items()
        assert found[2][1] == b"x" * 300_000
        assert found[3][1] == INDEX
        assert found[4][1].items() >= seen(other, "", "/staticx").items()
        assert get(server, "/static/a.txt", more=b"Range: bytes=2-4\r\n") == [(206, b"234")]
        assert get(server, "/static/a.txt", more=b"Accept-Encoding: gzip\r\n") == [(200, b"squeezed")]
        assert get(server, "/static/a.txt", "/x", method="POST", body=b"y" * 9)[0][0] == 405
        for escape in ("/static/../a.txt", "/static/%2e%2e/joined.py", "/static//etc/passwd"):
            assert get(server, escape)[0][0] in (400, 404)
        with server.connect() as sock:
            sock.sendall(b"GET /static/a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            tag = re.search(rb"(?i)etag: (\S+)", receive_all(sock))
            assert tag
        assert get(server, "/static/a.txt", more=b"If-None-Match: " + tag[1] + b"\r\n") == [(304, b"")]


def test_files_over_tls(certificate: Certificate, folder: Path) -> None:
    arguments = ["--static", f"/static={folder}", "--certfile", str(certificate.pem)]
    with serving("run", f"{APPS}:first", *arguments) as server, server.connect(certificate.trusted) as sock:
        sock.sendall(b"GET /static/large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert receive_all(sock).endswith(b"\r\n\r\n" + b"x" * 300_000)


@pytest.mark.parametrize(
    "text", ["static=x", "/static", "/=x", "/static=", "/a/../b=x", "/a%20b=x", "/a//b=x", "/{x}=y"]
)
def test_a_folder_that_no_path_can_have(text: str) -> None:
    with pytest.raises(ConfigError, match="--static: "):
        options.make({"static": [text]})
