"""What the admin's server answers. Everything is GET and changes nothing.

/              the page
/events        server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): `past`, the
               seconds that are kept; then `sample`, one a second
/stats.json    the last sample, and what serves
/metrics       for Prometheus
/health/live   200 while the supervisor goes round, else 503: start it anew
/health/ready  200 while requests should come, else 503: while it starts, and from the moment when it is told to leave
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import allcomers
from allcomers.apps.routes import routes
from allcomers.apps.web import Web
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import HttpError
from allcomers.models import TABLE
from allcomers.protocol.compiled import KIND
from allcomers.protocol.message import Handler, Request, Response
from allcomers.server.admin import page
from allcomers.server.admin.allowed_hosts import is_allowed
from allcomers.server.admin.history import History
from allcomers.server.admin.prometheus import MISSING, Exposition
from allcomers.server.admin.snapshot import look
from allcomers.system.counters import CounterBoard

WATCHERS: Final = 32
"""Streams of events at once. Each has a thread; the other places are for who asks once."""

PLACES: Final = 2 * WATCHERS

SILENCE: Final = 15.0
"""Seconds after which a watcher is sent a comment, if there is nothing else: who has gone is found out so."""

_SAFE: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


def site(board: CounterBoard, about: dict[str, Any], names: Sequence[str]) -> Handler:
    """The handler of all of it. `names`: by which it may be called, beside addresses and localhost."""
    history = History(board)
    history.start()
    about = {**_about(), **about}
    inner = routes(
        {
            "/": Page(),
            "/events": Events(history, about),
            "/stats.json": Stats(history, about),
            "/metrics": Metrics(board, about),
            "/health/live": Health(lambda: look(board).live),
            "/health/ready": Health(lambda: look(board).ready),
        }
    )

    def handler(request: Request) -> Response:
        if not is_allowed(request.host, names) and request.peer:  # a browser does not come by a Unix socket
            raise HttpError(421, "This server is not called that; --admin-hosts says what it is called.")
        response = inner(request)
        response.headers += _SAFE
        return response

    return handler


def _about() -> dict[str, Any]:
    """What of the server is the same for as long as this process lives."""
    return {
        "version": allcomers.__version__,
        "build": KIND,
        "python": sys.version.split()[0],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
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
        return Response(_json({**self._about, **sample}), headers=[("Content-Type", "application/json")])


class Events(Web):
    def __init__(self, history: History, about: dict[str, Any]) -> None:
        self._history = history
        self._about = about
        self._places = threading.BoundedSemaphore(WATCHERS)

    def get(self, request: Request) -> Response:
        if not self._places.acquire(blocking=False):
            raise HttpError(503, f"There are {WATCHERS} who watch already.", headers=[("Retry-After", "10")])
        fields = [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")]
        return Response(self._events(), headers=fields, close=self._places.release)

    def _events(self) -> Iterator[bytes]:
        past = self._history.past()
        number = past[-1]["number"] if past else 0
        yield _event("past", {**self._about, "past": past})
        while True:
            sample = self._history.after(number, SILENCE)
            if sample is None:
                yield b": nothing\n\n"
                continue
            number = sample["number"]
            yield _event("sample", sample)


class Metrics(Web):
    def __init__(self, board: CounterBoard, about: dict[str, Any]) -> None:
        labels = {name: str(about[name]) for name in ("version", "build", "python")}
        try:
            self._exposition: Exposition | None = Exposition(board, labels)
        except ImportError:
            self._exposition = None

    def get(self, request: Request) -> Response:
        if self._exposition is None:
            raise HttpError(501, MISSING.strip())
        body, kind = self._exposition.answer(request.headers.get("accept", ""))
        return Response(body, headers=[("Content-Type", kind)])


class Health(Web):
    def __init__(self, is_well: Callable[[], bool]) -> None:
        self._is_well = is_well

    def get(self, request: Request) -> Response:
        well = self._is_well()
        return plain_response(200, "yes") if well else plain_response(503, "no")


def _event(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), _json(data))


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
