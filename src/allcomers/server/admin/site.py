"""The admin's site. Every request is a GET and changes nothing.

/              the dashboard
/events        server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): `past`, what
               is kept: seconds, tens of seconds, marks; then `sample`, one a second
/stats.json    the last sample, facts about the server, figures by route, and the last errors with their stacks
/profile       with --profile: the page of stacks and flame graphs
/stacks.json   with --profile: the stacks of all threads, tasks and greenlets now, by worker
/profile.json  with --profile: ten seconds of samples, or ?seconds=N, in the file format of speedscope
/metrics       for Prometheus
/health/live   200 while the supervisor runs, else 503: restart the server
/health/ready  200 while requests should come, else 503: while it starts, and from the signal to stop
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import allcomers
from allcomers.apps.routes import routes
from allcomers.apps.web import Web
from allcomers.config.checks import cores
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import HttpError
from allcomers.models import TABLE
from allcomers.protocol.compiled import KIND
from allcomers.protocol.message import Handler, Request, Response
from allcomers.server.admin import page
from allcomers.server.admin.allowed_hosts import is_allowed
from allcomers.server.admin.history import History
from allcomers.server.admin.past import Past
from allcomers.server.admin.prometheus import exposition
from allcomers.server.admin.snapshot import snapshot
from allcomers.system.counters import CounterBoard
from allcomers.system.diagnostics.board import DiagnosticBoard
from allcomers.system.diagnostics.route_board import RouteBoard

WATCHERS: Final = 32
"""Most streams of events at once. Each has a thread."""

THREADS: Final = WATCHERS + 8
"""Threads for calls: those that no stream can have answer single requests, such as /health."""

CONNECTIONS: Final = 512
"""A connection costs no thread. Where there are more, the idle leave, and those whose request does not come."""

SILENCE: Final = 15.0
"""Seconds after which a stream without samples sends a comment, which finds out whether the client has left."""

_FIELDS: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


def site(
    board: CounterBoard, past: Past, diagnostics: DiagnosticBoard, about: dict[str, Any], names: Sequence[str]
) -> Handler:
    """Return the handler of the whole site.

    past   what is kept of it
    about  facts about the server, for the page
    names  host names that requests may have, besides addresses and localhost
    """
    history = History(board, past, diagnostics)
    history.start()
    about = {**_about(), "profile": bool(diagnostics.sockets), "by_route": diagnostics.routes is not None, **about}
    table: dict[str, object] = {
        "/": Page(),
        "/events": Events(history, about),
        "/stats.json": Stats(history, about),
        "/metrics": Metrics(board, diagnostics.routes, about),
        "/health/live": Health(lambda: snapshot(board).live),
        "/health/ready": Health(lambda: snapshot(board).ready),
    }
    if diagnostics.sockets:
        from allcomers.server.admin.profile import pages

        table.update(pages(board, diagnostics.sockets))
    inner = routes(table)

    def handler(request: Request) -> Response:
        if not is_allowed(request.host, names) and request.peer:  # browsers do not use Unix sockets
            raise HttpError(421, "This server does not have that host name; --admin-hosts sets its names.")
        response = inner(request)
        response.headers += _FIELDS
        return response

    return handler


def _about() -> dict[str, Any]:
    """Return the facts that stay the same as long as this process runs."""
    return {
        "version": allcomers.__version__,
        "build": KIND,
        "python": sys.version.split()[0],
        "cores": cores(),
        "models": {name: model.how for name, model in TABLE.items()},
    }


class Page(Web):
    def get(self, request: Request) -> Response:
        if request.path != "/":
            raise HttpError(404)
        fields = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", page.POLICY)]
        return Response(page.PAGE, headers=fields)


class Stats(Web):
    def __init__(self, history: History, about: dict[str, Any]) -> None:
        self._history = history
        self._about = about

    def get(self, request: Request) -> Response:
        sample = self._history.last or self._history.after(0, 3.0) or {}
        data = {**self._about, **sample, "errors": self._history.errors()}
        return Response(_json(data), headers=[("Content-Type", "application/json")])


class Events(Web):
    def __init__(self, history: History, about: dict[str, Any]) -> None:
        self._history = history
        self._about = about
        self._streams = threading.BoundedSemaphore(WATCHERS)

    def get(self, request: Request) -> Response:
        if not self._streams.acquire(blocking=False):
            raise HttpError(503, f"There are {WATCHERS} streams already.", headers=[("Retry-After", "10")])
        fields = [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")]
        return Response(self._events(), headers=fields, close=self._streams.release)

    def _events(self) -> Iterator[bytes]:
        kept = self._history.past()
        number = max((record["number"] for record in kept["past"]), default=0)
        yield b"retry: 500\n\n"  # milliseconds until a browser connects again: another process may be there
        yield _event("past", {**self._about, **kept})
        while True:
            sample = self._history.after(number, SILENCE)
            if sample is None:
                yield b": nothing\n\n"
                continue
            number = sample["number"]
            yield _event("sample", sample)


class Metrics(Web):
    def __init__(self, board: CounterBoard, routes: RouteBoard | None, about: dict[str, Any]) -> None:
        self._board = board
        self._routes = routes
        self._labels = {name: str(about[name]) for name in ("version", "build", "python")}

    def get(self, request: Request) -> Response:
        body, kind = exposition(self._board, self._routes, self._labels, request.headers.get("accept", ""))
        return Response(body, headers=[("Content-Type", kind)])


class Health(Web):
    def __init__(self, is_healthy: Callable[[], bool]) -> None:
        self._is_healthy = is_healthy

    def get(self, request: Request) -> Response:
        return plain_response(200, "yes") if self._is_healthy() else plain_response(503, "no")


def _event(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), _json(data))


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
