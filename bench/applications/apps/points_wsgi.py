"""WSGI apps in which servers differ: streams that are bound to a thread, WebSockets of a WSGI app."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import bottle
from simple_websocket import ConnectionClosed, Server

streams = bottle.Bottle()
within: ContextVar[str] = ContextVar("within")


@streams.get("/stream")
def stream() -> Iterator[str]:
    bottle.response.content_type = "text/plain; charset=utf-8"

    def generate() -> Iterator[str]:
        for number in range(5):
            yield f"{number} {bottle.request.path}\n"
            time.sleep(0.02)

    return generate()


def rows() -> Iterator[bytes]:
    database = sqlite3.connect(":memory:")
    database.execute("create table numbers (number)")
    database.executemany("insert into numbers values (?)", [(number,) for number in range(5)])
    for (number,) in database.execute("select number from numbers"):
        time.sleep(0.02)
        yield f"{number}\n".encode()


def threads() -> Iterator[bytes]:
    for _ in range(5):
        yield f"{threading.get_ident()}\n".encode()
        time.sleep(0.02)


def context() -> Iterator[bytes]:
    """Set a context variable and reset it, as Flask's stream_with_context() does: both must be in one context."""
    token = within.set("a request")
    for number in range(5):
        yield f"{number}\n".encode()
        time.sleep(0.02)
    within.reset(token)
    yield b"reset\n"


def talk(environ: dict[str, Any]) -> list[bytes]:
    """Echo a WebSocket as Flask-Sock and Flask-SocketIO do: the server's socket is in the environ."""
    ws = Server.accept(environ)
    try:
        while True:
            ws.send(ws.receive())
    except ConnectionClosed:
        return []


ANSWERS = {"/rows": rows, "/threads": threads, "/context": context}


def app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/stream":
        return streams(environ, start_response)
    if path == "/talk":
        return talk(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ANSWERS[path]() if path in ANSWERS else [b"one"]
