"""ASGI apps on each server: what is allowed and refused, what ends and what stays.

The newest uvicorn, gunicorn (its asgi worker) and hypercorn, each by its defaults, beside allcomers, all in one
environment with the frameworks. `--before DIR` adds another checkout of allcomers. A cell is an outcome: a status, the
code of a WebSocket's close, the calls that are left, bytes, seconds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.frameworks import asgi_fault_apps
from bench.support import harness, installing, processes
from bench.support.harness import CannotMeasureError, Launch, Server

REQUIRES = (
    "uvicorn[standard]", "gunicorn", "hypercorn", "websockets", "fastapi", "quart", "litestar", "blacksheep", "a2wsgi",
    "starlette", "brotli-asgi", "slowapi",
)  # fmt: skip
NOTES = harness.OUT / "asgi_faults.notes"
SECONDS = 3.0
"""Seconds to wait for an end that should come."""

APPS = ("bench.frameworks.asgi_fault_apps", "--interface", "asgi")
LARGE = 8 << 20
CONNECTIONS = 10


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--before", metavar="DIR", help="another checkout of allcomers, built in place")
    parser.add_argument("--servers", type=harness.names, metavar="NAME,...", help="columns of the table (default: all)")
    parser.add_argument("--points", type=harness.names, metavar="N,...", help="rows of the table (default: all)")


def run(args: argparse.Namespace) -> None:
    rows = measure(CHECKS, columns(args.before), REQUIRES, args)
    harness.save("asgi_faults", rows)


def measure(
    checks: Sequence[Check], servers: Mapping[str, Make], requires: Sequence[str], args: argparse.Namespace
) -> list[list[str]]:
    """Make the table's rows, and print them."""
    python = [installing.python_with((name,)) for name in requires][-1]
    servers = {name: make for name, make in servers.items() if not args.servers or name in args.servers}
    rows = []
    for check in checks:
        if not args.points or check.point in args.points:
            cells = [attempt(check, str(python), make) for make in servers.values()]
            rows.append([f"{check.point}. {check.name}", *cells])
            print(f"  {rows[-1]}", flush=True)
    harness.table(["what", *servers], rows)
    return rows


# Servers -------------------------------------------------------------------------------------------------

Make = Callable[[str, str, int], list[str]]
"""(python, app, port) to a command."""


def columns(before: str | None) -> dict[str, Make]:
    found = {"allcomers": allcomers(harness.ROOT, *APPS)}
    if before:
        found["before"] = allcomers(Path(before).resolve(), *APPS)
    return {**found, "uvicorn": uvicorn, "gunicorn": gunicorn, "hypercorn": hypercorn}


def allcomers(checkout: Path, apps: str, *options: str) -> Make:
    def make(python: str, app: str, port: int) -> list[str]:
        source = f"PYTHONPATH={checkout / 'src'}:{harness.ROOT}"
        more = [*options, "-b", f"127.0.0.1:{port}"]
        return ["env", source, python, "-m", "allcomers", "run", f"{apps}:{app}", *more]

    return make


def uvicorn(python: str, app: str, port: int) -> list[str]:
    return [python, "-W", "ignore", "-m", "uvicorn", f"bench.frameworks.asgi_fault_apps:{app}", "--port", str(port)]


def gunicorn(python: str, app: str, port: int) -> list[str]:
    more = ["-k", "asgi", "--no-control-socket", "-b", f"127.0.0.1:{port}"]
    return [python, "-m", "gunicorn", *more, f"bench.frameworks.asgi_fault_apps:{app}"]


def hypercorn(python: str, app: str, port: int) -> list[str]:
    found = app if app in vars(asgi_fault_apps) else f"make_{app}()"  # it does not use the module's __getattr__
    return [python, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", f"bench.frameworks.asgi_fault_apps:{found}"]


def attempt(check: Check, python: str, make: Make) -> str:
    NOTES.parent.mkdir(exist_ok=True)
    NOTES.write_text("")
    os.environ["NOTES"] = str(NOTES)
    port = harness.free_port()
    try:
        with harness.serving(Launch(make(python, check.app, port), ("127.0.0.1", port))) as server:
            return check.ask(server)
    except CannotMeasureError as error:
        return f"? {str(error)[:40]}"
    except (OSError, http.client.HTTPException, TimeoutError) as error:
        return type(error).__name__


# What is asked -------------------------------------------------------------------------------------------

HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n"
)


def dial(server: Server, path: str) -> tuple[socket.socket, bytes]:
    """Return a socket after its handshake, and the head of the response; b"" if none comes."""
    sock = socket.create_connection(server.address, timeout=SECONDS)
    sock.sendall(HANDSHAKE.format(path).encode())
    head = b""
    with suppress(TimeoutError):
        while b"\r\n\r\n" not in head and (data := sock.recv(1)):
            head += data
    return sock, head


def ending(path: str) -> Callable[[Server], str]:
    """Return how a WebSocket to `path` ends: the status of its refusal, or the code of its close."""

    def ask(server: Server) -> str:
        sock, head = dial(server, path)
        with sock:
            if not head.startswith(b"HTTP/1.1 101"):
                return head.split(b" ")[1].decode() if b" " in head else "no answer"
            data = b""
            try:
                while piece := sock.recv(65536):
                    data += piece
                    if code := closed(data):
                        return code
            except TimeoutError:
                return "open"
            return closed(data) or "dropped"

    return ask


def closed(data: bytes) -> str:
    """Return the code of the Close frame among these frames of a server; "" if there is none."""
    while len(data) >= 2:
        size = data[1]
        if data[0] & 15 == 8:
            return str(int.from_bytes(data[2:4], "big"))
        data = data[2 + size :]
    return ""


def server_field(server: Server) -> str:
    sock, head = dial(server, "/server")
    sock.close()
    fields = [line.partition(b":")[2].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"server:")]
    return b", ".join(fields).decode() or "none"


def get(server: Server, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Return status, coding and body."""
    conn = http.client.HTTPConnection(*server.address, timeout=SECONDS)
    try:
        conn.request("GET", path, headers=headers)
        found = conn.getresponse()
        return found.status, found.headers.get("Content-Encoding", "plain"), found.read()
    finally:
        conn.close()


def left(seconds: float) -> Callable[[Server], str]:
    """Start a stream with five clients, which leave; return the streams that are left then."""

    def ask(server: Server) -> str:
        for _ in range(5):
            with socket.create_connection(server.address, timeout=SECONDS) as sock:
                sock.sendall(b"GET /quiet HTTP/1.1\r\nHost: a\r\n\r\n")
                sock.recv(65536)
                time.sleep(0.1)
        until = time.monotonic() + seconds
        while (count := get(server, "/open")[2]) != b"0" and time.monotonic() < until:
            time.sleep(0.2)
        return f"{count.decode()} of 5"

    return ask


def file(path: str, coding: str) -> Callable[[Server], str]:
    def ask(server: Server) -> str:
        status, coded, body = get(server, path, **{"Accept-Encoding": coding})
        if status == 200 and coded == "gzip":
            zlib.decompress(body, 31)
        return f"{status} {coded}" if body else f"{status} empty"

    return ask


def await_note(word: str, seconds: float = SECONDS) -> bool:
    until = time.monotonic() + seconds
    while word not in NOTES.read_text():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def large_body(server: Server) -> str:
    with socket.create_connection(server.address, timeout=SECONDS) as sock:
        sock.sendall(b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        await_note("received")
    return "told" if await_note("http.disconnect") else "not told"


def leave(server: Server, patience: float = 6.0) -> str:
    """Send TERM; return the seconds until the server has ended."""
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while server.process.poll() is None and time.monotonic() - started < patience:
        time.sleep(0.02)
    return f"{time.monotonic() - started:.1f} s" if server.process.poll() is not None else f"> {patience:g} s"


def unanswered(server: Server) -> str:
    with socket.create_connection(server.address, timeout=SECONDS) as sock:
        sock.sendall(HANDSHAKE.format("/unanswered").encode())
        await_note("called")
        took = leave(server)
        sock.settimeout(0.2)
        answer = b""
        with suppress(OSError):
            answer = sock.recv(65536)
    noted = "told" if "websocket.disconnect" in NOTES.read_text() else "not told"
    return f"{answer[9:12].decode() or 'dropped'}, {noted}, {took}"


def handler(server: Server) -> str:
    get(server, "/")
    took = leave(server)
    notes = NOTES.read_text()
    ended = "" if "shut down" in notes else ", no shut-down"
    return f"{'called' if 'handler' in notes else 'not called'}, {took}{ended}"


def cut_off(server: Server) -> str:
    with socket.create_connection(server.address, timeout=SECONDS) as sock:
        sock.sendall(b"GET /quiet HTTP/1.1\r\nHost: a\r\n\r\n")
        await_note("quiet")
        took = leave(server, 40)
    return f"{server.log.read_text(errors='replace').count('Traceback')} tracebacks, {took}"


def kept(server: Server) -> str:
    """Return memory above that of idle connections, for each that has sent one large message and is idle."""
    socks = [dial(server, "/keep")[0] for _ in range(CONNECTIONS)]
    echo(socks, b"x" * 10)
    before = processes.anonymous_kib(server.pid)
    echo(socks, deflated(bytes(LARGE)), compressed=True)
    after = processes.anonymous_kib(server.pid)
    for sock in socks:
        sock.close()
    return f"{(after - before) / CONNECTIONS / 1024:.1f} MB"


def echo(socks: list[socket.socket], payload: bytes, compressed: bool = False) -> None:
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else bytes([128 | 126]) + size.to_bytes(2, "big")
    for sock in socks:
        sock.settimeout(20)
        sock.sendall(bytes([0x82 | compressed << 6]) + length + bytes(4) + payload)
        if not sock.recv(100):
            raise ConnectionError("closed")


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Check(NamedTuple):
    """A row: the point, what it is, the app, the request."""

    point: str
    name: str
    app: str
    ask: Callable[[Server], str]


CHECKS = (
    Check("1", "FastAPI: a dependency fails", "fastapi", ending("/dependency")),
    Check("1", "FastAPI: HTTPException(401)", "fastapi", ending("/exception")),
    Check("1", "FastAPI: close() first", "fastapi", ending("/close")),
    Check("1", "FastAPI: denial response 401", "fastapi", ending("/deny")),
    Check("1", "FastAPI: an unknown path", "fastapi", ending("/unknown")),
    Check("1", "Litestar: an unknown path", "litestar", ending("/unknown")),
    Check("1", "BlackSheep: an unknown path", "blacksheep", ending("/unknown")),
    Check("1", "a2wsgi: a WebSocket", "a2wsgi", ending("/")),
    Check("1", "Quart: a WebSocket", "quart", ending("/first")),
    Check("1", "plain: accept first", "raw", ending("/first")),
    Check("2", "accept() and return", "raw", ending("/accept")),
    Check("2", "accept() and raise", "raw", ending("/raise")),
    Check("3", "Starlette: quiet streams, 3 s", "streams", left(3)),
    Check("3", "plain: quiet streams, 12 s", "raw", left(12)),
    Check("4", "a file behind brotli-asgi", "files", file("/brotli/", "br")),
    Check("4", "a file behind slowapi", "files", file("/slowapi/", "identity")),
    Check("4", "a file behind GZipMiddleware", "files", file("/gzip/", "gzip")),
    Check("8", "TERM: an unanswered handshake", "raw", unanswered),
    Check("8", "TERM: the app has a handler", "signals", handler),
    Check("8", "TERM: a stream without an end", "raw", cut_off),
    Check("9", "Server of websocket.accept", "raw", server_field),
    Check("9", "disconnect after 100 KB", "raw", large_body),
    Check("10", "kept of an 8 MB message", "raw", kept),
)

if __name__ == "__main__":
    sys.exit("python -m bench asgi_faults")
