"""Entries of the server's log: none can be forged, and the same one a thousand times is a few lines and a count."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trustme

from allcomers.server import error_log
from allcomers.server.error_log import BURST, LimitedHandler
from allcomers.server.logs.entry_form import escaped
from support.harness import ROOT, Server, ask, receive_all, serving, wait_for

ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[\d+\] [A-Z]+ |Listening at: |    ")
"""The start of each line: of an entry, or of what belongs to the one before."""

FORGED = "2026-11-23T09:11:45.073+00:00 [1] ERROR forged"
TEXT = f"one\n{FORGED}\r{FORGED}\u2028\x1b[2J\x9b\u202etwo\udcff\x00"

APPS = """
import threading
import allcomers

TEXT = %r

def wsgi(environ, start_response):
    raise RuntimeError(TEXT)

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError(TEXT)
    raise RuntimeError(TEXT)

class Web(allcomers.Web):
    def get(self, request):
        raise RuntimeError(TEXT)

class Echo(allcomers.Service):
    framing = allcomers.Raw()
    def request(self, line):
        raise RuntimeError(TEXT)

class Dying:
    def __del__(self):
        raise ValueError(TEXT)

def unraisable(environ, start_response):
    Dying()
    start_response("200 OK", [("Content-Length", "0")])
    return []

def threads(environ, start_response):
    thread = threading.Thread(target=lambda: wsgi(environ, start_response), name=TEXT)
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Length", "0")])
    return []

def stream(environ, start_response):
    start_response("200 OK", [])
    yield b"x"
    raise RuntimeError(TEXT)
"""

GET = b"GET /%1B%0A\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".replace(b"\xff", b"")


@pytest.fixture
def apps(tmp_path: Path) -> str:
    path = tmp_path / "app.py"
    path.write_text(APPS % TEXT)
    return str(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wsgi", ("-m", "epoll")),
        ("wsgi", ("-m", "process")),
        ("stream", ("-m", "thread", "--calls", "pool")),
        ("asgi", ("-m", "asyncio")),
        ("asgi", ("-m", "thread")),
        ("Web", ("-m", "select")),
        ("Echo", ("-m", "epoll")),
        ("Echo", ("-m", "thread-pool")),
        ("unraisable", ("-m", "epoll", "--calls", "inline")),
        ("threads", ("-m", "epoll")),
    ],
)
def test_text_of_an_exception_forges_no_entry(apps: str, name: str, options: tuple[str, ...]) -> None:
    with serving("run", f"{apps}:{name}", *options, quiet=False) as server:
        ask(server, GET)
        wait_for(lambda: "two" in server.stderr, "the entry")
    check(server.stderr)


def test_nor_does_the_stack_of_a_call_that_hangs(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SLOW)
    with serving("run", f"{tmp_path / 'app.py'}:app", "--call-timeout", "0.2", quiet=False) as server:
        ask(server, GET)
        wait_for(lambda: "has not ended" in server.stderr, "the entry")
    check(server.stderr)


SLOW = """
import time
def app(environ, start_response):
    time.sleep(5)
    start_response("200 OK", [])
    return []
"""


def check(stderr: str) -> None:
    for line in stderr.split("\n")[:-1]:
        assert ENTRY.match(line), stderr
        assert line.isprintable(), repr(line)
    assert not re.search(f"^{re.escape(FORGED)}", stderr, re.M)


def test_letters_of_every_script_stay() -> None:
    assert escaped("Grüße, 你好, שלום\t🎉\n") == "Grüße, 你好, שלום\t🎉\n"


# ------------------------------------------------------------ the same again and again


def counted(stderr: str) -> int:
    return sum(int(count) for count in re.findall(r" (\d+) more like the \d+ before", stderr))


@pytest.mark.parametrize(
    ("name", "options"), [("wsgi", ("-m", "epoll")), ("asgi", ("-m", "asyncio")), ("wsgi", ("-m", "process"))]
)
def test_the_same_failure_is_written_a_few_times_then_counted(apps: str, name: str, options: tuple[str, ...]) -> None:
    """Send 300 requests on one connection, one process's; the server's end brings the count."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving("run", f"{apps}:{name}", *options, quiet=False) as server, server.connect() as sock:
        sock.sendall(request * 299 + GET)
        assert receive_all(sock).count(b"HTTP/1.1 500 ") == 300
    written = server.stderr.count(" failed\n")
    assert BURST <= written < 100  # more than one window on a slow machine
    assert written + counted(server.stderr) == 300, server.stderr[-2000:]
    assert "the last: GET '/" in server.stderr


def test_another_failure_is_seen_among_many(tmp_path: Path) -> None:
    app = "def app(environ, start_response):\n    {}[environ['PATH_INFO']] if '1' in environ['PATH_INFO'] else 1 / 0\n"
    (tmp_path / "app.py").write_text(app)
    with serving("run", f"{tmp_path / 'app.py'}:app", quiet=False) as server, server.connect() as sock:
        sock.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        sock.sendall(b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        receive_all(sock)
    assert "ZeroDivisionError" in server.stderr


def test_the_count_comes_when_the_window_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log nothing more: a thread writes the count, and is gone."""
    monkeypatch.setattr(error_log, "WINDOW", 0.3)
    written: list[str] = []
    handler = LimitedHandler()
    monkeypatch.setattr(logging.StreamHandler, "emit", lambda self, record: written.append(record.getMessage()))
    for number in range(BURST + 5):
        handler.handle(logging.LogRecord("allcomers.app", logging.ERROR, "", 0, "number %d\nmore", (number,), None))
    assert len(written) == BURST
    wait_for(lambda: len(written) > BURST, "the count")
    assert written[-1].startswith(f"5 more like the {BURST} before, in ")
    assert written[-1].endswith(f"the last: number {BURST + 4}")
    wait_for(lambda: all(thread.name != "log-counts" for thread in threading.enumerate()), "the thread's end")


def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log under 2,000 messages of their own, as an f-string gives: what is kept of them does not grow with them."""
    written: list[str] = []
    handler = LimitedHandler()
    monkeypatch.setattr(logging.StreamHandler, "emit", lambda self, record: written.append(record.getMessage()))
    for number in range(2000):
        handler.handle(logging.LogRecord("allcomers.app", logging.ERROR, "", 0, f"message {number}", (), None))
    assert len(written) == 256 - 1 + BURST or len(written) == 256 + BURST
    handler.close()
    assert written[-1].startswith(f"{2000 - len(written) + 1} more like ")


# ------------------------------------------------------------ exceptions that nothing can catch


def test_an_exception_that_nothing_can_catch_is_one_line(apps: str) -> None:
    with serving("run", f"{apps}:unraisable", "-m", "epoll", quiet=False) as server, server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 99 + GET)
        assert receive_all(sock).count(b"HTTP/1.1 200 ") == 100
    told = [line for line in server.stderr.splitlines() if "nothing can catch" in line]
    assert len(told) + counted(server.stderr) >= 100
    assert len(told) < 50
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("model", ["epoll", "thread", "asyncio"])
def test_a_server_name_that_is_no_ascii_is_one_line(tmp_path: Path, model: str) -> None:
    """Offer it in 40 handshakes: `ssl` raises where nothing can catch, before the server sees the name."""
    authority, files = trustme.CA(), []
    for name in ("first.test", "second.test"):
        path = tmp_path / f"{name}.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        files += ["--certfile", str(path)]
    with serving("serve", str(ROOT / "examples/site"), "-m", model, *files) as server:  # no traceback
        for _ in range(40):
            with server.connect() as sock:
                sock.sendall(hello(b"first.test").replace(b"first.test", b"f\xffrst.\n\x1bst"))
                assert receive_all(sock)[:1] == b"\x15"  # an alert
    told = [line for line in server.stderr.splitlines() if "UnicodeDecodeError" in line]
    assert BURST <= len(told) < 30
    assert sum("nothing can catch this exception: Uni" in line for line in told) + counted(server.stderr) >= 40
    check(server.stderr)


def hello(name: bytes) -> bytes:
    """Return a client's first message, for a server of this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name.decode())
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


# ------------------------------------------------------------ many addresses


INTERNED = """
import sys
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % sys.getunicodeinternedsize()]
"""


@pytest.mark.skipif(not hasattr(sys, "getunicodeinternedsize"), reason="needs Python 3.12")
@pytest.mark.parametrize("model", ["epoll", "thread", "asyncio"])
def test_an_address_is_not_interned(tmp_path: Path, model: str) -> None:
    """Connect from 250 addresses at once. Python 3.12 keeps interned strings for ever, 3.13 while they are in use."""
    (tmp_path / "app.py").write_text(INTERNED)
    with serving("run", f"{tmp_path / 'app.py'}:app", "-m", model) as server:
        size = [int(ask_from(server, "127.0.0.1")) for _ in range(3)][-1]
        socks = [connect_from(server, f"127.9.{number}.1") for number in range(250)]
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        assert int(ask_from(server, "127.0.0.1")) - size < 50
        for sock in socks:
            sock.close()


def connect_from(server: Server, address: str) -> socket.socket:
    return socket.create_connection(server.address, 30, source_address=(address, 0))


def ask_from(server: Server, address: str) -> bytes:
    with connect_from(server, address) as sock:
        sock.sendall(GET)
        return receive_all(sock).rpartition(b"\r\n\r\n")[2]


# ------------------------------------------------------------ closed descriptors


CLOSED = 'exec "$@" <&- >&- 2>&-'

SOME = ("<&- >/dev/null 2>/dev/null", "</dev/null >&- 2>/dev/null", "</dev/null >/dev/null 2>&-")

DESCRIPTORS = """
import os, sys
def app(environ, start_response):
    start_response("200 OK", [])
    print("a line", file=sys.stderr)
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in (os.getpid(), os.getppid()) for fd in (0, 1, 2)]
    return [repr((set(names), sys.stdin.read(), sys.stdout.fileno())).encode()]
"""


@pytest.mark.parametrize(
    ("model", "shell"),
    [("epoll", CLOSED), ("thread", CLOSED), *(("epoll", f'exec "$@" {some}') for some in SOME)],
)
def test_closed_descriptors_are_opened(tmp_path: Path, model: str, shell: str) -> None:
    """Start with descriptors of 0 to 2 closed: nothing else gets their numbers, in supervisor or worker."""
    (tmp_path / "app.py").write_text(DESCRIPTORS)
    path = tmp_path / "sock"
    command = [sys.executable, "-m", "allcomers", "run", "app.py:app", "-m", model, "-b", f"unix:{path}"]
    process = subprocess.Popen(["sh", "-c", shell, "sh", *command], cwd=tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            wait_for(lambda: sock.connect_ex(str(path)) == 0 or process.poll() is not None, "the server to listen")
            sock.sendall(GET)
            answer = receive_all(sock)
        assert answer.endswith(b"({'/dev/null'}, '', 1)"), answer
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    "arguments", [("--version",), ("models",), ("load", "http://127.0.0.1:{port}/", "-d", "0.3", "-c", "2")]
)
def test_so_are_they_for_other_commands(arguments: tuple[str, ...]) -> None:
    with serving("serve", str(ROOT / "examples/site")) as server:
        command = [sys.executable, "-m", "allcomers", *(word.format(port=server.address[1]) for word in arguments)]
        assert subprocess.run(["sh", "-c", CLOSED, "sh", *command], cwd=ROOT, timeout=60).returncode == 0
