"""What a WSGI text behind nginx costs with each option that production turns on: the steps of `bench instructions`."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.request.cost import BROWSER
from bench.request.instructions import COUNT, RECEIVE, exchange, step, text_app

LIMIT = 30.0  # seconds of --call-timeout


def head(client: str) -> bytes:
    """Return what nginx passes on of a browser's request, with `proxy_set_header` as its manual has it."""
    own = ("Host: example.org", f"X-Real-IP: {client}", f"X-Forwarded-For: {client}", "X-Forwarded-Proto: https")
    return "\r\n".join(("GET / HTTP/1.1", *own, *BROWSER[1:], "", "")).encode()


PAGE = b"<p>Hello, World!</p>" * 100
ONE = head("203.0.113.7")
MANY = [head(f"203.0.{at // 250}.{at % 250 + 1}") for at in range(COUNT)]


def steps() -> None:
    import time

    from allcomers.calls.auto import Auto
    from allcomers.calls.pool import ThreadPool
    from allcomers.calls.time_limit import TimedAuto, TimedInline, TimeLimit
    from allcomers.protocol.proxy.forwarded import Proxies
    from allcomers.server.access_log import AccessLog
    from allcomers.system.counters import CounterRow

    nothing()
    with tempfile.TemporaryDirectory() as folder:
        logs = {name: AccessLog(str(Path(folder, name)), name) for name in ("combined", "json")}
        log = {"log": logs["combined"]}
        times = {"log": logs["json"], "clock": time.monotonic}
        trusted = {"proxies": Proxies("127.0.0.1")}
        options: dict[str, dict[str, Any]] = {
            "without": {},
            "--access-log": log,
            "--access-log-format json, with times": times,
            "--forwarded-allow-ips": trusted,
            "--server-timing": {"clock": time.monotonic, "server_timing": True},
            "--call-timeout, --calls inline": {"calls": TimedInline(1, LIMIT, print, CounterRow())},
            "access log, proxies and call time-out": log
            | trusted
            | {"calls": TimedInline(1, LIMIT, print, CounterRow())},
            "the same, with times": times | trusted | {"calls": TimedInline(1, LIMIT, print, CounterRow())},
        }
        handler = text_app()
        for name, answers in options.items():
            step(name, exchange({"handler": handler} | answers, ONE))
        files_and_codings(folder)
        step("--calls pool", exchange({"handler": handler}, ONE, pools=True))
        pool = ThreadPool(1, CounterRow(), TimeLimit(LIMIT, 1, print))
        step("--calls pool, --call-timeout", exchange({"handler": handler, "calls": pool}, ONE, pools=True))
        for name, auto in (
            ("--calls auto", Auto(1, CounterRow())),
            ("--calls auto, --call-timeout", TimedAuto(1, LIMIT, print, CounterRow(), None)),
        ):
            asleep(auto)
            step(name, exchange({"handler": handler, "calls": auto}, ONE))
        for name in ("without", "--access-log", "--forwarded-allow-ips"):
            step(f"{name}, each of another client", of_many(exchange({"handler": handler} | options[name], ONE)))


def asleep(auto: Any) -> None:
    """Have the calls of `auto` run inline, without its watchdogs, whose looks are few, and at any moment."""
    auto.ownership.inline, auto.ownership.dozing = True, False
    if auto.is_limited:
        auto.running.is_idle = False


def files_and_codings(folder: str) -> None:
    """Count the steps of what has its own way in other servers."""
    from allcomers.apps.compression.codings import available
    from allcomers.apps.compression.policy import Policy
    from allcomers.apps.compression.response import CompressedHandler
    from allcomers.apps.static.site import Site
    from allcomers.apps.wsgi import app as wsgi

    path = Path(folder, "page.html")
    path.write_bytes(PAGE)

    def file(environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    def page(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [PAGE]

    handlers = {name: wsgi.handler(app, report=print, inline=True) for name, app in (("file", file), ("page", page))}
    asked = ONE.replace(b"GET / ", b"GET /page.html ")
    site = exchange({"handler": Site(folder)}, asked)
    tag = site().partition(b"ETag: ")[2].partition(b"\r\n")[0]
    step("a page of 2 KB", exchange({"handler": handlers["page"]}, ONE))
    step("the page by wsgi.file_wrapper", exchange({"handler": handlers["file"]}, ONE))
    coded = CompressedHandler(handlers["page"], Policy(available()))
    step("the page with --compress", exchange({"handler": coded}, ONE))
    step("the page of a folder", site)
    step("304 of a folder", lambda: site(asked[:-2] + b"If-None-Match: " + tag + b"\r\n\r\n"))


def nothing() -> None:
    import socket

    ours, theirs = socket.socketpair()

    def send() -> None:
        ours.send(ONE)
        theirs.recv(RECEIVE)

    step("nothing", send)


def of_many(ask: Callable[..., bytes]) -> Callable[[], bytes]:
    """Return a function that sends the request of the next of many clients."""
    heads: Iterator[bytes] = cycle(MANY)
    return lambda: ask(next(heads))
