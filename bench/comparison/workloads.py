"""The workloads and the servers that take part in each: one table.

The first of the servers is the baseline, to which all are a ratio: mostly the floor in C, which does for the workload
as little as can be done; `floor` says how it is started. If waiting or the app's own work is the point, the floor is
the plain one (or burns the same CPU), and what counts is requests/s and p99, not the ratio.
"""

from dataclasses import dataclass
from typing import Any, Literal

from bench.comparison import served
from bench.request.cost import BROWSER
from bench.support.harness import OUT

CERTIFICATE = OUT / "bench.pem"
FILE_SIZES = {"1k.bin": 1024, "1m.bin": 1 << 20}

TEXT = b"Hello, World!"
HTTP_FLOOR = ("floor/http_floor.c",)
TLS_FLOOR = ("floor/tls_floor.c", "@PEM")

ALLCOMERS = ("allcomers wsgi", "allcomers wsgi pool", "allcomers web", "allcomers asgi uvloop", "allcomers asgi stdlib")
GREENLETS = "allcomers wsgi gevent"
COMPILED = ("bjoern", "fastwsgi", "socketify")
WSGI = ("granian wsgi", "gunicorn sync", "gunicorn gthread", "gunicorn gevent", "waitress", "cheroot")
ASGI = ("granian asgi", "uvicorn", "hypercorn", "gunicorn asgi")
ALL = ("floor", "nginx", *ALLCOMERS, GREENLETS, *COMPILED, *WSGI, *ASGI)
APPS = tuple(name for name in ALL if name != "nginx")
KEEPING = tuple(name for name in ALL if name != "gunicorn sync")  # servers that keep connections open
WAITING = ("floor", "allcomers wsgi pool", "allcomers wsgi auto", GREENLETS, *ALLCOMERS[3:], *WSGI, *ASGI)
FILES = (
    *("floor", "nginx", "allcomers site", "allcomers wsgi", "granian static", "uvicorn", "bjoern", "fastwsgi"),
    *("gunicorn sync", "gunicorn gthread", "waitress", "cheroot"),
)
SECURE = (
    *("floor", "nginx", *ALLCOMERS, "granian wsgi", "gunicorn gthread", "gunicorn gevent", "cheroot"),
    *ASGI,
)
IN_PRODUCTION = ("floor", "nginx", *ALLCOMERS, "granian wsgi", "gunicorn gthread", *ASGI)
WEBSOCKETS = ("allcomers asgi uvloop", "allcomers asgi stdlib", "uvicorn", "granian asgi", "hypercorn")
ECHO = (
    *("floor", "floor in Python", "allcomers service", "asyncio protocol", "asyncio streams"),
    *("uvloop protocol", "uvloop streams"),
)
HTTP2 = (
    *("nginx", "allcomers wsgi", "allcomers web", "allcomers asgi uvloop", "allcomers asgi stdlib"),
    *("granian wsgi", "granian asgi", "hypercorn"),
)
HTTP2_LOADS = ("1 x 64", "64 x 10", "64 x 1")
"""Of h2load: connections, and requests at once on each."""
EVENTS = ("allcomers asgi uvloop", "allcomers asgi stdlib", "uvicorn", "granian asgi", "hypercorn")
EACH_SECOND, TEN_A_SECOND, HUNDRED_A_SECOND = "/1", "/0.1", "/0.01"  # seconds between two events of a stream
QUICK = {
    "text": ("floor", "nginx", "bjoern", "granian wsgi", "uvicorn", *ALLCOMERS[:1], *ALLCOMERS[2:4]),
    "browser": ("floor", "nginx", "bjoern", *ALLCOMERS[:1], *ALLCOMERS[2:4]),
    "echo": ("floor", "allcomers service", "asyncio protocol", "uvloop protocol"),
}
"""The workloads of `--quick`: the hot path, and the peers to compare it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One request, repeated, and the servers that answer it.

    app         a name of served.py
    load        a name of loads.LOADS: wrk, h2load (16 in flight on each connection), held (10,000 connections) …; over
                HTTP/2 those in HTTP2_LOADS
    shows       the figure of the plot: the ratio to the floor, or requests/s
    floor       source and arguments of the floor; @PEM and @FILES stand for those files
    production  whether servers have on what production has: an access log, a trusted proxy, a time-out of calls
    of          what is counted, in the plural
    threads     of servers that have a pool; 0 leaves them their default
    expected    body of the response
    chunked     whether it is chunked
    """

    name: str
    title: str
    servers: tuple[str, ...]
    app: str = "text"
    path: str = "/"
    heads: tuple[str, ...] = ()
    body: bytes = b""
    expected: bytes = TEXT
    chunked: bool = False
    production: bool = False
    of: str = "requests"
    tls: bool = False
    threads: int = 0
    load: str = "wrk"
    shows: Literal["ratio", "rate"] = "ratio"
    floor: tuple[str, ...] = HTTP_FLOOR

    @property
    def http2(self) -> bool:
        return self.load in HTTP2_LOADS

    @property
    def baseline(self) -> str:
        """The server that all others are a ratio to."""
        return self.servers[0]

    @property
    def closes(self) -> bool:
        return "Connection: close" in self.heads


def file_of(name: str) -> bytes:
    """Return the file's content: bytes that are not all alike."""
    return (bytes(range(256)) * 4096)[: FILE_SIZES[name]]


def http2(name: str, title: str, load: str, servers: tuple[str, ...] = HTTP2, **more: Any) -> Workload:
    """Return a workload over HTTP/2, with nginx as what all are a ratio to."""
    return Workload(name=f"h2-{name}", title=f"{title}, over HTTP/2: {load}", servers=servers, load=load, **more)


OVER_HTTP2 = (
    *(http2(load.replace(" x ", "x"), "13 bytes of text", load) for load in HTTP2_LOADS),
    *(http2(f"tls-{load.replace(' x ', 'x')}", "13 bytes of text with TLS", load, tls=True) for load in HTTP2_LOADS),
    http2(
        *("file-1m", "a static file of 1 MB with TLS", "64 x 1", ("nginx", "allcomers site", "granian static")),
        tls=True,
        app="file",
        path="/static/1m.bin",
        expected=file_of("1m.bin"),
    ),
    http2("post", "a POST with a body of 4 KB", "64 x 10", HTTP2[1:], app="post", body=b"x" * served.POSTED),
    http2("stream", "16 pieces of 1 KB", "64 x 10", HTTP2[1:], app="stream", expected=served.PIECE * served.PIECES),
)

WORKLOADS = (
    Workload(name="text", title="13 bytes of text, wrk's head", servers=ALL),
    Workload(name="browser", title="13 bytes of text, a browser's head of 10 fields", servers=ALL, heads=BROWSER),
    Workload(
        name="production",
        title="the browser's text behind a proxy, with an access log, X-Forwarded-For and a time-out of calls",
        servers=IN_PRODUCTION,
        heads=(*BROWSER, "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https"),
        production=True,
    ),
    Workload(
        name="file-1k",
        title="a static file of 1 KB",
        servers=FILES,
        app="file",
        path="/static/1k.bin",
        expected=file_of("1k.bin"),
        floor=("floor/file_floor.c", "@FILES/static/1k.bin"),
    ),
    Workload(
        name="file-1m",
        title="a static file of 1 MB",
        servers=FILES,
        app="file",
        path="/static/1m.bin",
        expected=file_of("1m.bin"),
        floor=("floor/file_floor.c", "@FILES/static/1m.bin"),
    ),
    Workload(
        name="post",
        title="a POST with a body of 4 KB",
        servers=ALL,
        app="post",
        body=b"x" * served.POSTED,
        floor=(*HTTP_FLOOR, "body", str(served.POSTED)),
    ),
    Workload(
        name="stream",
        title="16 chunks of 1 KB",
        servers=APPS,
        app="stream",
        expected=served.PIECE * served.PIECES,
        chunked=True,
        floor=(*HTTP_FLOOR, "chunks", str(served.PIECES), str(len(served.PIECE))),
    ),
    Workload(name="pipelined", title="16 requests in flight on each connection", servers=KEEPING, load="h2load"),
    Workload(
        name="connections",
        title="a new connection for each request",
        servers=ALL,
        heads=("Connection: close",),
        floor=(*HTTP_FLOOR, "close"),
    ),
    Workload(
        name="tls",
        title="13 bytes of text over TLS, keep-alive",
        servers=SECURE,
        tls=True,
        floor=TLS_FLOOR,
    ),
    Workload(
        name="tls-full",
        title="a new connection over TLS for each request, a full handshake",
        servers=SECURE,
        heads=("Connection: close",),
        tls=True,
        load="full handshakes",
        floor=(*TLS_FLOOR, "close"),
    ),
    Workload(
        name="tls-resumed",
        title="a new connection over TLS for each request, by a session ticket",
        servers=SECURE,
        heads=("Connection: close",),
        tls=True,
        load="resumed handshakes",
        floor=(*TLS_FLOOR, "close"),
    ),
    Workload(
        name="held",
        title="10,000 connections, all of which ask at once",
        servers=tuple(name for name in KEEPING if name not in (GREENLETS, "gunicorn gthread", "cheroot")),
        load="held",
    ),
    Workload(
        name="sleep",
        title="each call waits 10 ms",
        servers=WAITING,
        app="sleep",
        threads=64,
        shows="rate",
        floor=HTTP_FLOOR,
    ),
    Workload(
        name="rare",
        title="one call in 100 waits 50 ms",
        servers=(*WAITING, "allcomers wsgi", "bjoern"),
        app="rare",
        threads=64,
        shows="rate",
    ),
    Workload(
        name="burn",
        title="each call takes 5 ms of CPU",
        servers=(
            *("floor", "allcomers wsgi", "allcomers wsgi pool", "allcomers wsgi auto", "allcomers asgi uvloop"),
            *("bjoern", "granian wsgi", "gunicorn gthread", "waitress", "uvicorn"),
        ),
        app="burn",
        threads=64,
        shows="rate",
        floor=(*HTTP_FLOOR, "burn", "5"),
    ),
    Workload(
        name="echo",
        title="64 bytes echoed over plain TCP",
        servers=ECHO,
        app="echo",
        load="echo",
        floor=("floor/echo_floor.c",),
    ),
    Workload(
        name="websocket",
        title="a WebSocket's text of 70 bytes, echoed",
        servers=WEBSOCKETS,
        app="websocket",
        load="websocket",
        of="messages",
    ),
    Workload(
        name="broadcast",
        title="a text of 70 bytes sent to 1,000 WebSockets, each of them",
        servers=WEBSOCKETS,
        app="websocket",
        load="broadcast",
        of="messages",
    ),
    Workload(
        name="sse",
        title="1,000 streams of server-sent events, one event a second each",
        servers=EVENTS,
        app="sse",
        path=EACH_SECOND,
        load="events",
        of="events",
    ),
    Workload(
        name="sse-10",
        title="1,000 streams, 10 events a second each",
        servers=EVENTS,
        app="sse",
        path=TEN_A_SECOND,
        load="many-events",
        of="events",
    ),
    Workload(
        name="sse-one",
        title="one stream, 100 events a second: ms from send() to its client",
        servers=EVENTS,
        app="sse",
        path=HUNDRED_A_SECOND,
        load="lone-events",
        of="events",
    ),
    *OVER_HTTP2,
)
