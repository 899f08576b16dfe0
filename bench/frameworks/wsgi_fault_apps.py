"""The apps of `python -m bench wsgi_faults`, imported in the environment of the servers.

A response in pieces names the thread that made each, and whether the rows are all there. NOTES (environment) is a file
in which the thread of close() is noted.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAUSE = 0.005
"""Seconds between two pieces: the server has time for other requests."""

PIECES = 6
ROWS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n"


def pieces(environ: dict[str, Any], start_response: Any) -> Any:
    """Yield the thread of the call, then that of each piece."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Pieces(environ["QUERY_STRING"])


class Pieces:
    """An iterator that notes the thread of its close() beside the name of its request and the thread of its call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()
        self._left = PIECES

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        if self._left < PIECES:
            time.sleep(PAUSE)
        self._left -= 1
        return f"{self._thread} {threading.get_ident()}\n".encode()

    def close(self) -> None:
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(f"{self._name} {self._thread == threading.get_ident()}\n")


def cursor(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Yield rows as they come from a cursor of sqlite3, which refuses another thread than that of its connection."""
    database = sqlite3.connect(":memory:")
    rows = database.execute(ROWS)
    start_response("200 OK", [("Content-Type", "text/csv")])

    def lines() -> Iterator[bytes]:
        for (number,) in rows:
            yield f"{number}\n".encode()
            time.sleep(PAUSE)

    return lines()


# Frameworks: each is made when it is asked for -----------------------------------------------------------


def __getattr__(name: str) -> Any:
    make = globals().get(f"make_{name}")
    if make is None:
        raise AttributeError(name)
    return make()


def make_recipe() -> Any:
    """Bottle's documentation streams like this: `request` is the thread's own."""
    import bottle

    app = bottle.Bottle()

    @app.route("/<name>")  # type: ignore[untyped-decorator]
    def stream(name: str) -> Iterator[str]:
        for _ in range(PIECES):
            yield f"{bottle.request.path}\n"
            time.sleep(PAUSE)

    return app


def make_django() -> Any:
    """Yield rows of a database, whose connection is the thread's own, and is closed at the end of a request."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, StreamingHttpResponse
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="bench.frameworks.wsgi_fault_apps",
        SECRET_KEY="for a benchmark",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{os.environ['NOTES']}.sqlite3"}},
    )
    django.setup()

    def rows(request: HttpRequest) -> StreamingHttpResponse:
        from django.db import connection

        def lines() -> Iterator[str]:
            with connection.cursor() as cursor:
                cursor.execute(ROWS)
                for (number,) in cursor:
                    yield f"{number}\n"
                    time.sleep(PAUSE)

        return StreamingHttpResponse(lines())

    globals()["urlpatterns"] = [path("rows", rows)]
    return get_wsgi_application()


def make_simple() -> Any:
    """simple-websocket without a framework."""
    from simple_websocket import ConnectionClosed, Server

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        socket = Server.accept(environ)
        try:
            while True:
                socket.send(socket.receive())
        except ConnectionClosed:
            return []

    return app


def make_sock() -> Any:
    from flask import Flask
    from flask_sock import Sock

    app = Flask(__name__)

    @Sock(app).route("/")  # type: ignore[untyped-decorator]
    def echo(socket: Any) -> None:
        while True:
            socket.send(socket.receive())

    return app


def make_socketio() -> Any:
    from flask import Flask
    from flask_socketio import SocketIO, emit

    app = Flask(__name__)
    socketio = SocketIO(app, async_mode="threading")

    @socketio.on("shout")  # type: ignore[untyped-decorator]
    def shout(text: str) -> None:
        emit("heard", text.upper())

    return app
