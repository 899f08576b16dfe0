"""The small steps of a request, in µs: `python bench/request/micro.py`. The best of five, so noise only adds.

Not a benchmark of the server: it backs PERF comments in apps/ and server/access_log.py.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import Any

from allcomers.apps.by_route.counted import CountedAsgi, CountedHandler
from allcomers.apps.routes import routes
from allcomers.apps.web import Web
from allcomers.apps.wsgi.app import Wsgi
from allcomers.apps.wsgi.environ import Environs
from allcomers.apps.wsgi.file_wrapper import FileWrapper
from allcomers.apps.wsgi.start_response import StartResponse
from allcomers.calls.pool import ThreadPool
from allcomers.config.log_format import NAMES
from allcomers.connection.http.log_record import AccessRecord
from allcomers.protocol.encode import encode_fields
from allcomers.protocol.message import Request, Response
from allcomers.server.access_log import AccessLog
from allcomers.system.counters import BYTES_IN, BYTES_OUT, REQUESTS, CounterRow, PlainCounterRow
from allcomers.system.diagnostics.route_board import RouteBoard, RouteCounts

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
COUNT = 100_000


def cost(step: Callable[[], object]) -> float:
    return min(timeit.repeat(step, number=COUNT, repeat=5)) / COUNT * 1e6


def show(name: str, microseconds: float) -> None:
    print(f"{name:<40} {microseconds:6.2f} µs")


class Hello(Web):
    def get(self, request: Request) -> str:
        return "Hello, world!"

    def post(self, request: Request) -> dict[str, str]:
        return {"hello": "world"}


def web() -> None:
    hello = Hello()
    get, post = Request(method="GET", target="/"), Request(method="POST", target="/")
    get.path = post.path = "/"
    show("a method's own call", cost(lambda: hello.get(get)))
    show("Response(bytes, headers=[one])", cost(lambda: Response(b"", headers=[("Content-Type", "text/html")])))
    show("Web, str", cost(lambda: hello(get)))
    show("Web, dict", cost(lambda: hello(post)))


def routed() -> None:
    handler = routes({"/": Hello, "/exact": Hello, **{f"/api/{n}/": Hello for n in range(30)}})
    request = Request(method="GET", target="/")

    def answer(path: str) -> None:
        request.path, request.prefix = path, ""
        handler(request)

    for path in ("/exact", "/api/7/items/3", "/other/page.html"):
        show(f"33 routes and Web, {path}", cost(lambda: answer(path)))  # noqa: B023


BROWSER = [
    (b"Host", b"127.0.0.1:8000"),
    (b"User-Agent", CHROME.encode()),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"Accept-Language", b"en-US,en;q=0.9"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Referer", b"https://example.org/some/page?x=1"),
    (b"Connection", b"keep-alive"),
    (b"Cookie", b"session=0123456789abcdef0123456789abcdef"),
    (b"Sec-Fetch-Mode", b"navigate"),
    (b"Upgrade-Insecure-Requests", b"1"),
]


def wsgi() -> None:
    fields = [("Content-Type", "text/plain")]

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", fields)
        return [b"Hello, world!"]

    class Closing(list[bytes]):
        def close(self) -> None:
            pass

    def closing(environ: dict[str, Any], start_response: Callable[..., object]) -> Closing:
        start_response("200 OK", [*fields, ("Content-Length", "13")])
        return Closing([b"Hello, world!"])

    environs = Environs(file_wrapper=FileWrapper)
    handler = Wsgi(app, report=print)
    close = Wsgi(closing, report=print)
    bare = Request(method="GET", target="/a/b?c=d", host="127.0.0.1:8000", fields=BROWSER[:1], peer="127.0.0.1")
    full = Request(method="GET", target="/a/b?c=d", host="127.0.0.1:8000", fields=BROWSER, peer="127.0.0.1", port=4711)
    show("environ, one field", cost(lambda: environs(bare)))
    show("environ, a browser's ten fields", cost(lambda: environs(full)))
    show("a context of its own, and a call in it", cost(lambda: copy_context().run(int)))
    show("start_response, one field", cost(lambda: StartResponse().start("200 OK", fields)))
    show("encode_fields, a field that is known", cost(lambda: encode_fields(fields)))
    show("the app's own call", cost(lambda: app({}, lambda *_: None)))
    show("Wsgi, a list of one block, one field", cost(lambda: handler(bare)))
    show("Wsgi, a list of one block, ten fields", cost(lambda: handler(full)))
    show("Wsgi, a block with close(), ten fields", cost(lambda: close(full)))
    pool = ThreadPool(1, CounterRow())
    show("a call handed to a thread of the pool", cost(lambda: pool.run(int)))


def access_log() -> None:
    null = os.open("/dev/null", os.O_WRONLY)
    show("write(2) to /dev/null", cost(lambda: os.write(null, b"x" * 230)))
    for fmt in (*NAMES, "%(h)s %(t)s %(s)s %(wait)s %(app)s %(write)s"):
        for name, agent in (("as it is", CHROME), ("escaped", CHROME + '"\x1b')):
            show(f"access log to /dev/null, {fmt[:8]}, {name}", cost(logging(AccessLog("/dev/null", fmt), agent)))


def logging(log: AccessLog, agent: str) -> Callable[[], object]:
    lines = {
        b"Host": b"example.org:8000",
        b"Referer": b"https://example.org/some/page?x=1",
        b"User-Agent": agent.encode("latin-1"),
    }
    head = Request(method="GET", target="/a/b?c=d", host="example.org:8000", fields=lines.items())
    head.named = {name.lower(): value for name, value in lines.items()}

    def write() -> None:
        record = AccessRecord(head, ("GET", "/a/b?c=d", "1.1"), 200, 13, 0.0)
        record.peer, record.when, record.seconds, record.line = "127.0.0.1", 1.7e9, 0.00123, ""
        record.wait = record.app = record.write = 0.0
        log.log(record)

    return write


def live_figures() -> None:
    """Count a request's figures in plain Python: five calls, and two readings of a clock."""
    for name, counters in (("compiled or not", CounterRow()), ("plain Python", PlainCounterRow())):

        def request(counters: PlainCounterRow = counters) -> None:
            counters.add(BYTES_IN, 100)
            counters.add(REQUESTS)
            started = monotonic()
            counters.called(0.0, started - started)
            counters.add(BYTES_OUT, 150)
            counters.answered(200, 0.00123)

        show(f"live figures of a request, {name}", cost(request))
        show(
            f"... and of a turn of the loop, {name}",
            cost(lambda counters=counters: counters.loop_turn(monotonic() - 1e-5)),
        )


def by_route() -> None:
    """Count the response of a handler, and of an ASGI app that does not wait, by route."""
    counts = RouteCounts(RouteBoard(), 1)
    request, response = Request(method="GET", target="/users/7"), Response(b"x")

    def handler(request: Request) -> Response:
        return response

    counted = CountedHandler(handler, counts)
    show("a handler's call by route", cost(lambda: counted(request)) - cost(lambda: handler(request)))
    start, body = {"type": "http.response.start", "status": 200}, {"type": "http.response.body"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    async def send(message: Any) -> None:
        pass

    def run(app: Any) -> None:
        with suppress(StopIteration):
            app({"type": "http", "path": "/users/7"}, None, send).send(None)

    asgi = CountedAsgi(app, counts)
    show("an ASGI app's call by route", cost(lambda: run(asgi)) - cost(lambda: run(app)))


if __name__ == "__main__":
    live_figures()
    by_route()
    web()
    routed()
    wsgi()
    access_log()
