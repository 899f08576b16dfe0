"""WSGI on real servers: an app that wsgiref.validate checks, under every model, with calls inline and in a pool."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

import pytest

from allcomers import Request
from allcomers.config.options import make
from allcomers.models import TABLE
from allcomers.server.endpoint import endpoint
from support.apps.served import pattern
from support.apps.wsgi_apps import FILE, told
from support.clients import Answer, Client, chunked, request
from support.harness import Server, serving, wait_for
from support.wires import Lost, UnixWire, wire

APP = "tests/support/apps/wsgi_apps.py"
MODELS = [model.name for model in TABLE.values() if not model.obstacle]
LOOPS = [name for name in MODELS if TABLE[name].events is not None]
HALL = ("iterative", "process")
"""Models under which no two calls run at once in a process."""


PAIRS = [(name, calls) for name in MODELS for calls in ("inline", "pool") if name != "gevent" or calls == "inline"]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    model, calls = request.param
    with serving("run", APP, "-m", model, "--calls", calls, quiet=False) as server:
        yield server
        assert server.stderr.count("Traceback") == server.stderr.count("\n    support.apps.served.Deliberate")
        assert "garbage collected" not in server.stderr  # what the validator says of an iterable that was not closed


def ask(server: Server, data: bytes) -> Answer:
    with wire(server.address, None) as peer:
        return Client(peer).ask(data)


def get(server: Server, target: str, *fields: str) -> Answer:
    return ask(server, request("GET", target, *fields))


# ------------------------------------------------------------ what comes back


def test_requests_on_one_connection(server: Server) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        for path, length in (("/hello", None), ("/plain/hello", "5"), ("/hello", None)):  # the validator hides the list
            answer = client.ask(request("GET", path))
            assert (answer.status, answer.body, answer["Content-Length"]) == (200, b"Hello", length)
            assert answer["Content-Type"] == "text/plain"
        client.send(request("GET", "/hello"))
        assert client.wire.receive().startswith(b"HTTP/1.1 200 Fine\r\n")


@pytest.mark.parametrize("size", [0, 100, 600_000])
def test_a_body_of_either_kind(server: Server, size: int) -> None:
    body = pattern(size)
    with wire(server.address, None) as peer:
        client = Client(peer)
        assert client.ask(request("POST", "/echo", body=body)).body == body
        sent = request("POST", "/echo", "Transfer-Encoding: chunked") + chunked(body, 50_000)
        assert client.ask(sent).body == body
        answer = client.ask(request("POST", "/digest", "Transfer-Encoding: chunked") + chunked(body, 50_000))
        assert answer.body.decode().split() == [str(size), str(size), hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize("path", ["/hello", "/stream?n=100000", "/stream?n=100000&length", "/file", "/plain/file"])
def test_head(server: Server, path: str) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        head = client.ask(request("HEAD", path))
        whole = client.ask(request("GET", path))
        assert (head.status, head.body) == (200, b"")
        # What the answer to GET would say, where that is known without asking the app for all of it.
        assert head["Content-Length"] == whole["Content-Length"]


@pytest.mark.parametrize("prefix", ["", "/plain"])
def test_a_stream(server: Server, prefix: str) -> None:
    assert get(server, f"{prefix}/stream?n=0").body == b""
    answer = get(server, f"{prefix}/stream?n=123456")
    assert answer.body == pattern(123_456)
    assert {*accumulate(answer.chunks)} <= {*range(10_000, 123_456, 10_000), 123_456}  # whole pieces, perhaps together
    answer = get(server, f"{prefix}/stream?n=123456&length")
    assert (answer.body, answer["Content-Length"]) == (pattern(123_456), "123456")
    old = ask(server, request("GET", f"{prefix}/stream?n=123456", version="1.0"))
    assert (old.body, old.persists) == (pattern(123_456), False)


@pytest.mark.parametrize("size", [0, 5, 600_000])
def test_write(server: Server, size: int) -> None:
    assert (
        get(server, f"/written?n={size}").body == get(server, f"/plain/written?n={size}").body == pattern(size) + b"end"
    )


def test_errors(server: Server) -> None:
    answer = get(server, "/replaced")
    assert (answer.status, answer["X-First"], answer["X-Second"], answer.body) == (503, None, "2", b"Sorry")
    with wire(server.address, None) as peer:
        client = Client(peer)
        assert client.ask(request("GET", "/fails")).status == 500
        assert client.ask(request("GET", "/hello")).body == b"Hello"
    with pytest.raises(Lost):  # cut, so that the client can tell
        get(server, "/late")


def test_not_modified(server: Server) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        answer = client.ask(request("GET", "/not_modified"))
        assert (answer.status, answer["ETag"], answer["Content-Length"], answer["Transfer-Encoding"]) == (
            304, '"a"', None, None,
        )  # fmt: skip
        assert client.ask(request("GET", "/hello")).body == b"Hello"


def test_files(server: Server) -> None:
    whole = FILE.read_bytes()
    sent = get(server, "/plain/file")
    assert (sent.body, sent["Content-Length"]) == (whole[5:], str(len(whole) - 5))
    assert get(server, "/file").body == whole[5:]  # the validator hides the wrapper: block by block
    assert get(server, "/filelike").body == get(server, "/plain/filelike").body == whole


def test_close_is_called_once(server: Server, tmp_path: Path) -> None:
    notes = []
    with wire(server.address, None) as peer:
        client = Client(peer)
        for number, query in enumerate(("blocks=0", "blocks=1", "blocks=2", "blocks=1&length=5", "blocks=2&length=11")):
            for target in (f"/closed?{query}", f"/plain/closed?{query}"):
                for method in ("GET", "HEAD"):
                    notes.append(tmp_path / f"{len(notes)}-{number}")
                    client.ask(request(method, f"{target}&note={notes[-1]}"))
        client.ask(request("GET", "/hello"))
    for note in notes:
        wait_for(lambda note=note: note.exists() and note.read_text(), "close() to be called")
        assert note.read_text() == "closed\n"


def test_close_is_called_when_the_client_leaves(server: Server, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with wire(server.address, None) as peer:
        peer.send(request("GET", f"/closed?note={note}&blocks=2&endless"))
        assert peer.receive()
        peer.reset()
    wait_for(lambda: note.exists() and note.read_text() == "closed\n", "close() to be called")


# ------------------------------------------------------------ what is told


def test_environ(server: Server, request: pytest.FixtureRequest) -> None:
    host, port = server.address
    model, calls = request.node.callspec.params["server"]
    with wire(server.address, None) as peer:
        client = Client(peer)
        own = peer.socket.getsockname()[1]
        client.send("GET http://a:1/told?b=%20 HTTP/1.1\r\nHost: b\r\nX: é\r\nX:  2 \r\n\r\n".encode())
        found = json.loads(client.answer().body)
    expected = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/told", "QUERY_STRING": "b=%20",
        "SERVER_NAME": host, "SERVER_PORT": str(port), "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "allcomers",
        "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(own), "HTTP_HOST": "a:1", "HTTP_X": "\xc3\xa9, 2",
        "REQUEST_URI": "/told?b=%20", "RAW_URI": "/told?b=%20", "wsgi.url_scheme": "http", "wsgi.run_once": False,
        "wsgi.multithread": model not in HALL and not (model in LOOPS and calls == "inline"),
        "wsgi.multiprocess": model == "process", "wsgi.input_terminated": True,
    }  # fmt: skip
    assert found == expected
    assert "a word\n" in server.stderr


@pytest.mark.parametrize(
    ("options", "multithread", "multiprocess"),
    [
        ({}, True, False),  # where nothing is said, a loop moves away from a call that lasts
        ({"model": "asyncio", "workers": "2"}, True, True),
        ({"threads": "1"}, False, False),
        ({"calls": "inline", "workers": "2"}, False, True),
        ({"calls": "inline", "call_timeout": "9"}, False, False),
        ({"model": "thread"}, True, False),
        ({"model": "thread", "threads": "1"}, True, False),
        ({"model": "thread", "calls": "pool", "threads": "1"}, False, False),
        ({"model": "thread-pool"}, True, False),
        ({"model": "thread-pool", "threads": "1"}, False, False),
        ({"model": "thread-pool", "threads": "1", "call_timeout": "9"}, True, False),  # one that hangs is left behind
        ({"model": "iterative"}, False, False),
        ({"model": "iterative", "call_timeout": "9"}, True, False),
        ({"model": "process", "workers": "2"}, False, True),
    ],
)
def test_whether_calls_run_at_once(options: dict[str, str], multithread: bool, multiprocess: bool) -> None:
    connect = endpoint(told, make(options), None).connect
    assert isinstance(connect, partial)
    body = connect.args[0].handler(Request(method="GET", target="/")).body
    found = json.loads(body)
    assert (found["wsgi.multithread"], found["wsgi.multiprocess"]) == (multithread, multiprocess)


def test_a_unix_socket_a_root_path_and_what_host_says(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        serving("run", f"{APP}:app", "--root-path", "/base", bind=f"unix:{path}"),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(str(path))
        sock.sendall(b"GET /base/plain/told HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(65536), b""))
    found = json.loads(data.partition(b"\r\n\r\n")[2])
    names = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")
    assert [found[name] for name in names] == [
        "/base", "/plain/told", "/base/plain/told", "example.org", "80", "",
    ]  # fmt: skip
    assert "REMOTE_PORT" not in found


@pytest.mark.parametrize("pure", ["", "1"])
def test_behind_a_proxy_on_a_unix_socket_each_request_has_its_own_name_and_port(tmp_path: Path, pure: str) -> None:
    path = tmp_path / "socket"
    options = ["--forwarded-allow-ips", "unix"]
    names = [("a.example", "http"), ("b.example:81", "http"), ("c.example", "https"), ("[::1]:82", "http")] * 3
    with (
        serving("run", f"{APP}:told", *options, bind=f"unix:{path}", env={"ALLCOMERS_PURE": pure}),
        UnixWire(path) as peer,
    ):
        client = Client(peer)
        told = []
        for host, scheme in names:
            forwarded = f"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: {scheme}\r\n"
            answer = client.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n{forwarded}\r\n".encode())
            found = json.loads(answer.body)
            assert found["REMOTE_ADDR"] == "198.51.100.7"
            told.append((found["SERVER_NAME"], found["SERVER_PORT"]))
        found = json.loads(client.ask(f"GET / HTTP/1.0\r\n{forwarded}\r\n".encode()).body)
        assert (found["SERVER_NAME"], found["SERVER_PORT"]) == ("localhost", "80")
    assert told == [("a.example", "80"), ("b.example", "81"), ("c.example", "443"), ("[::1]", "82")] * 3


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
def test_each_peer_is_told_the_address_that_it_came_to(tmp_path: Path, model: str) -> None:
    """The listener counts under several --bind; under one to all addresses, the address that the peer used."""
    with serving("run", f"{APP}:told", "-m", model, "-b", "0.0.0.0:0", "-b", f"unix:{tmp_path / 'socket'}") as server:
        ports = [int(port) for port in re.findall(r"Listening at: http://.*:(\d+) ", server.stderr)]
        assert len(ports) == 2
        for host, port in (("127.0.0.1", ports[1]), ("127.0.0.1", ports[0]), ("127.0.0.2", ports[0])):
            with wire((host, port), None) as peer:
                found = json.loads(Client(peer).ask(request("GET", "/")).body)
            assert (found["SERVER_NAME"], found["SERVER_PORT"]) == (host, str(port))


# ------------------------------------------------------------ threads and memory


@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread"])
def test_a_slow_body_holds_no_thread(model: str) -> None:
    with serving("run", APP, "-m", model, "--calls", "pool", "-t", "1") as server:
        slow = [wire(server.address, None) for _ in range(3)]
        for peer in slow:
            peer.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        assert get(server, "/hello").body == b"Hello"
        for peer in slow:
            peer.send(b"56789")
            assert Client(peer).answer().body == b"0123456789"
            peer.close()


@pytest.mark.parametrize("model", ["asyncio", "epoll", "thread"])
def test_no_event_loop_runs_in_the_thread_of_a_call(model: str) -> None:
    """Django's ORM raises SynchronousOnlyOperation there, asgiref's async_to_sync() RuntimeError."""
    with serving("run", f"{APP}:looped", "-m", model) as server, wire(server.address, None) as peer:
        client = Client(peer)
        assert {client.ask(request("GET", "/")).body for _ in range(3)} == {b"free"}


def test_close_in_a_pool_holds_nobody_else_up(tmp_path: Path) -> None:
    """A slow close() waits in a thread of the pool; after the first one, not even its own client waits."""
    first, second = tmp_path / "first", tmp_path / "second"
    with serving("run", f"{APP}:slow_to_close", "-m", "epoll", "-t", "2") as server, wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request("GET", f"/?note={first}"))
        wait_for(first.exists, "close() to begin")
        assert get(server, "/").body == b"Hello"
        Path(f"{first}-done").touch()
        assert client.answer().body == b"Hello"
        assert client.ask(request("GET", f"/?note={second}")).body == b"Hello"
        wait_for(second.exists, "close() to begin")
        assert get(server, "/").body == b"Hello"
        Path(f"{second}-done").touch()
        assert client.ask(request("GET", "/")).body == b"Hello"
        assert [note.read_text() for note in (first, second)] == ["closed\n"] * 2


def peak(server: Server) -> int:
    """Return the worker's peak of resident memory, in MiB."""
    (worker,) = server.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_hundred_megabytes_are_read_at_steady_memory(model: str) -> None:
    block, count = pattern(1 << 20), 100
    expected = hashlib.sha256()
    with serving("run", APP, "-m", model, "--max-body", "200M") as server, wire(server.address, None) as peer:
        client = Client(peer)
        client.ask(request("GET", "/hello"))
        before = peak(server)
        client.send(f"POST /plain/digest HTTP/1.1\r\nHost: a\r\nContent-Length: {count << 20}\r\n\r\n".encode())
        for _ in range(count):
            expected.update(block)
            client.send(block)
        answer = client.answer()
        assert answer.body.decode().split() == [str(count << 20), str(count << 20), expected.hexdigest()]
        assert peak(server) - before < 16
