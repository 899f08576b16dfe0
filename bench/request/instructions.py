"""Instructions per request, counted by callgrind: no noise; the same figure on a busy machine.

One connection sends the same request over and over, and an EventLoop with inline calls answers, as under the epoll
model. All that a request costs in user space is counted, from the poller's wait() to its last byte; what the kernel
does for it, and what the peer costs, is not. `pool` runs the same calls in a thread of their own, and counts all that
the hand-over costs. `post` sends 4 KB, `file` gets 1 KB of a folder. `stream-wsgi` and `stream-asgi` send 16 pieces of
1 KB, and `sse` counts one event of an open stream of them, beyond the turns of asyncio's loop. `asgi-later` counts an
app that waits for a turn of the loop before it answers, beyond that turn. `connect` and `connect-wsgi` open a
connection for each request, the last of it. `websocket` counts a text of 70 bytes that is echoed, and `broadcast` one
that is sent to 100 clients, for each of them; `websocket-open` a WebSocket from accept to close. `upload-wsgi` and
`upload-asgi` receive bodies: with their heads, behind them, in chunks. `options` counts a WSGI text behind nginx with
each option that production turns on, and its ratio to none of them. `h2-web` and `h2-wsgi` ask over HTTP/2, one and 16
at once. `parts` counts the steps alone. Needs valgrind. With ALLCOMERS_PURE=1 in the environment the plain Python is
counted instead of compiled parts.
"""

import argparse
import asyncio
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.request.cost import BROWSER
from bench.support import harness

WARM = 300
COUNT = 1000
MARK = "getpgrp"  # a system call that nothing here makes: callgrind writes its counts when it is entered
RECEIVE = 64 * 1024
PIECES = 16
PIECE = b"p" * 1024
END = b"\r\n0\r\n\r\n"  # of a body in chunks
WRK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BODY = b"x" * 4096
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
HEADS = {"wrk": WRK, "browser": WRK[:-2] + "".join(f"{line}\r\n" for line in BROWSER).encode() + b"\r\n"}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", type=harness.names, default=list(KINDS))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    if args.inside:
        for kind in args.kinds:
            KINDS[kind]()
        return
    for kind in args.kinds:
        found = counted(kind)
        for name, count in found:
            ratio = f" {count / found[0][1]:6.2f}" if kind == "options" else ""
            print(f"{kind:11} {name:40} {count:9,.0f}{ratio}", flush=True)


def counted(kind: str) -> list[tuple[str, float]]:
    """Yield (step, instructions of one) for each step of `kind`."""
    if shutil.which("valgrind") is None:
        raise harness.CannotMeasureError("valgrind is not installed (Debian: apt install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind")
        tool = [
            *fixed_addresses(),
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            f"--dump-before={MARK}",
        ]
        inside = [sys.executable, "-m", "bench", "instructions", "--inside", "--kinds", kind]
        # Nothing else of the environment: what is in it moves what stands in memory, and so what collides in tables.
        environ = {name: os.environ[name] for name in ("PATH", "ALLCOMERS_PURE") if name in os.environ}
        environ["PYTHONHASHSEED"] = "0"
        done = subprocess.run([*tool, *inside], env=environ, cwd=harness.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise harness.CannotMeasureError(f"valgrind failed:\n{done.stderr}")
        names = done.stdout.split("\n")[:-1]
        dumps = [total(Path(f"{out}.{at}")) for at in range(1, 2 * len(names) + 1)]
    empty = dumps[1]  # the first step does nothing
    return [(name, (dumps[2 * at + 1] - empty) / COUNT) for at, name in enumerate(names) if at]


def fixed_addresses() -> list[str]:
    """Return the command that runs another with memory at the same addresses each time; none where that is denied."""
    command = ["setarch", "-R"]
    if shutil.which(command[0]) is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        return []
    return command


def total(dump: Path) -> int:
    """Return the instructions in a file of callgrind's."""
    found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)
    assert found is not None, f"no total in {dump}"
    return int(found[1])


def step(name: str, run: Callable[[], object], of: int = 1) -> None:
    """Count `run`, which does `of` of what is counted."""
    print(name, flush=True)
    for _ in range(WARM // of):
        run()
    os.getpgrp()
    for _ in range(COUNT // of):
        run()
    os.getpgrp()


# ---------------------------------------------------------------- what is counted


def answering(pools: bool, calls: Any = None, **answers: Any) -> Any:
    """Return an EventLoop that serves HTTP on a listener of its own, its poller, and its address."""
    from allcomers.calls.inline import Inline
    from allcomers.calls.pool import ThreadPool
    from allcomers.config.limits import Limits
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.http.http1 import Http1Connection
    from allcomers.models.driver.event_loop import EventLoop
    from allcomers.models.driver.serving import Endpoint, Serving
    from allcomers.models.epoll_loop import EpollPoller
    from allcomers.server.clock import DateLine
    from allcomers.system.accept_balance import WorkerSlots
    from allcomers.system.memory.ledger import unbounded
    from allcomers.system.signals import Signals

    def report(error: BaseException, request: object) -> None:
        raise error

    date = DateLine()
    date(time.monotonic())
    date.until = math.inf  # a new line each second is more for each request where the machine is busy
    slot = WorkerSlots().acquire()
    http = HttpEndpoint(
        **({"handler": print} | answers),
        limits=Limits(),
        date=date,
        wall=time.time,
        report=report,
        counters=slot.counters,
        ledger=unbounded(),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as sockets.py does
    poller = EpollPoller()
    serving = Serving(
        endpoint=Endpoint(scheme="http", connect=partial(Http1Connection, http), serve=lambda serving: None, http=http),
        listeners=[listener],
        calls=calls or (ThreadPool(1, slot.counters) if pools else Inline()),
        signals=Signals(1.0),
        slot=slot,
    )
    return EventLoop(serving, poller), poller, listener.getsockname()


def exchange(answers: Any, data: bytes, pools: bool = False, is_chunked: bool = False) -> Callable[..., bytes]:
    """Return a function that sends one request on one connection, by default `data`, and returns the response."""
    loop, poller, address = answering(pools, **answers)
    peer = socket.create_connection(address)

    def turn() -> None:
        now = time.monotonic()
        for fd, event in poller.wait(1.0):
            loop.handle(fd, event, now)
        loop.turn(now)

    def one(data: bytes = data) -> bytes:
        peer.send(data)
        for _ in range(1 + pools):  # the response of another thread is reported in a turn of its own
            turn()
        said = peer.recv(RECEIVE)
        while is_chunked and not said.endswith(END):
            said += peer.recv(RECEIVE)
        return said

    turn()  # the peer is accepted
    said = one()
    assert said.startswith(b"HTTP/1.1 200 OK\r\n"), said
    return one


def steps_of(
    pools: bool = False, is_chunked: bool = False, requests: dict[str, bytes] | None = None, **answers: Any
) -> None:
    ours, theirs = socket.socketpair()

    def nothing() -> None:
        ours.send(WRK)
        theirs.recv(RECEIVE)

    step("nothing", nothing)  # except what the peer does
    for name, data in (requests or {f"{name}'s head": head for name, head in HEADS.items()}).items():
        step(name, exchange(answers, data, pools, is_chunked))


def hello(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def web(count: Callable[..., None] = steps_of) -> None:
    from allcomers.apps.web import as_handler
    from bench.support.apps import Hello

    count(handler=as_handler(Hello))


def post() -> None:
    from allcomers.apps.web import as_handler
    from bench.support.apps import Posted

    steps_of(handler=as_handler(Posted), requests={"a body of 4 KB": POST})


def file() -> None:
    from allcomers.apps.static.site import Site

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "index.html").write_bytes(PIECE)
        steps_of(handler=Site(folder))


def wsgi(count: Callable[..., None] = steps_of) -> None:
    count(handler=text_app())


def text_app() -> Any:
    """Return the handler of a WSGI app that answers a short text."""
    from allcomers.apps.wsgi import app as wsgi

    return wsgi.handler(hello, report=print, inline=True)


def stream_wsgi() -> None:
    from allcomers.apps.wsgi import app as wsgi

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PIECE for _ in range(PIECES))

    steps_of(is_chunked=True, handler=wsgi.handler(app, report=print, inline=True))


def asgi() -> None:
    asyncio.run(_asgi())


def answers_of(app: Any, events: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Return the parts of an HttpEndpoint that call this ASGI app."""
    from allcomers.apps.asgi.dispatch import answer
    from allcomers.apps.asgi.eager import eager_calls
    from allcomers.apps.asgi.runtime import AsgiRuntime
    from allcomers.config.limits import WebSocketLimits

    host = AsgiRuntime(app=app, events=events, report=print, websocket=WebSocketLimits())
    return {"async_call": partial(answer, host), "begin": eager_calls(host)}


class Spun:
    """An ASGI app behind one connection, on an event loop that takes a turn when it is told to."""

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
        self.events = asyncio.new_event_loop()
        self._loop, self._poller, self._address = answering(False, **answers_of(make(self.events), self.events))
        self.peer = self.connect()

    def connect(self) -> socket.socket:
        """Return a client's socket, whose connection is accepted."""
        peer = socket.create_connection(self._address)
        self.spin(self.turn)
        return peer

    def turn(self) -> None:
        for fd, event in self._poller.wait(0.0):
            self._loop.handle(fd, event, time.monotonic())
        self._loop.turn(time.monotonic())

    def spin(self, action: Callable[[], object] | None = None) -> None:
        """Take a turn, with `action` first."""
        if action is not None:
            self.events.call_soon(action)
        self.events.call_soon(self.events.stop)
        self.events.run_forever()

    def ask(self) -> None:
        self.peer.send(WRK)
        self.spin(self.turn)

    def read(self) -> None:
        said = self.peer.recv(RECEIVE)
        while not said.endswith(END):
            self.spin()
            said += self.peer.recv(RECEIVE)


def nothing_spun(spun: Spun, turns: int = 1) -> None:
    ours, theirs = socket.socketpair()

    def nothing() -> None:
        ours.send(WRK)
        for _ in range(turns):
            spun.spin(int)
        theirs.recv(RECEIVE)

    step("nothing", nothing)


def stream_asgi() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    spun = Spun(lambda events: app)
    nothing_spun(spun)
    step("wrk's head", lambda: (spun.ask(), spun.read()))


def asgi_later() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        head = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"Hello, World!"})

    spun = Spun(lambda events: app)

    def one() -> None:
        spun.ask()
        spun.spin()
        spun.peer.recv(RECEIVE)

    nothing_spun(spun, 2)
    step("wrk's head", one)


def sse() -> None:
    due: list[asyncio.Future[None]] = []

    def make(events: asyncio.AbstractEventLoop) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            head = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            while True:
                due.append(event := events.create_future())
                await event
                await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})

        return app

    spun = Spun(make)
    for _ in range(3):  # the first request has a head that nobody has sent before
        spun.peer = spun.connect()
        spun.ask()

    def event() -> None:
        spun.spin(lambda: due.pop().set_result(None))
        spun.spin()
        spun.peer.recv(RECEIVE)

    nothing_spun(spun, 2)
    step("an event", event)


async def _asgi() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"Hello, World!"})

    steps_of(**answers_of(app, asyncio.get_running_loop()))


def parts() -> None:
    from allcomers.apps.asgi.scope import http_scope
    from allcomers.apps.wsgi.environ import Environs
    from allcomers.apps.wsgi.file_wrapper import FileWrapper
    from allcomers.config.limits import Limits
    from allcomers.connection.http import response_head as answers
    from allcomers.protocol import encode
    from allcomers.protocol.http1 import Requests
    from allcomers.protocol.message import Request, Response

    environs = Environs(file_wrapper=FileWrapper)
    step("nothing", lambda: None)
    for name, data in HEADS.items():
        inbound = Requests(Limits())

        def read() -> Request:
            inbound.feed(data)  # noqa: B023
            head = inbound.head()  # noqa: B023
            assert head is not None
            head.arrived([], None, "127.0.0.1", 4711, "http")
            return head

        step(f"{name}'s head read", read)
        step("… and its environ", lambda: environs(read()))
        step("… or its scope", lambda: http_scope(read(), "", None))
    response = Response(b"Hello, World!", headers=[("Content-Type", "text/plain")])
    date = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    step("an answer planned", lambda: answers.plan(("GET", "/", "1.1"), response, 13, True, date, encode.SERVER))


def later(module: str, name: str) -> Callable[..., None]:
    """Return a function of a module of this folder that imports this one."""

    def run(**answers: Any) -> None:
        getattr(import_module(f"bench.request.{module}"), name)(**answers)

    return run


KINDS: dict[str, Callable[[], None]] = {
    "web": web,
    "pool": partial(web, partial(steps_of, True)),
    "post": post,
    "file": file,
    "wsgi": wsgi,
    "connect": partial(web, later("arrival_steps", "arrive")),
    "connect-wsgi": partial(wsgi, later("arrival_steps", "arrive")),
    "asgi": asgi,
    "stream-wsgi": stream_wsgi,
    "stream-asgi": stream_asgi,
    "asgi-later": asgi_later,
    "sse": sse,
    "upload-wsgi": later("upload_steps", "upload_wsgi"),
    "upload-asgi": later("upload_steps", "upload_asgi"),
    "h2-web": partial(web, later("http2_steps", "count_streams")),
    "h2-wsgi": partial(wsgi, later("http2_steps", "count_streams")),
    "websocket": later("websocket_steps", "echo"),
    "websocket-open": later("websocket_steps", "handshake"),
    "broadcast": later("websocket_steps", "to_all"),
    "parts": parts,
    "options": later("options", "steps"),
}
