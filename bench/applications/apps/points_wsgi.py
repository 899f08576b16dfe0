"""WSGI apps in which servers differ: streams that are bound to a thread, WebSockets of a WSGI app."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import bottle
from simple_websocket import ConnectionClosed, Server

streams = bottle.Bottle()


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


def talk(environ: dict[str, Any]) -> list[bytes]:
    """Echo a WebSocket as Flask-Sock and Flask-SocketIO do: the server's socket is in the environ."""
    ws = Server.accept(environ)
    try:
        while True:
            ws.send(ws.receive())
    except ConnectionClosed:
        return []


def app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/stream":
        return streams(environ, start_response)
    if path == "/talk":
        return talk(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return rows() if path == "/rows" else threads() if path == "/threads" else [b"one"]
