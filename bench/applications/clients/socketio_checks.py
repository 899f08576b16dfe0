"""Checks of the Flask-SocketIO application."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common import CONTENT, PATIENCE, client, equal


@contextmanager
def socketio(url: str, transports: list[str]) -> Iterator[Any]:
    import socketio as library

    found = library.Client(reconnection=False)
    found.connect(url, transports=transports, wait_timeout=PATIENCE)
    try:
        yield found
    finally:
        found.disconnect()


def _talk(url: str, transports: list[str]) -> None:
    with socketio(url, transports) as one, socketio(url, transports) as two:
        equal(one.transport(), transports[-1])
        equal(one.call("add", [1, 2, 3], timeout=PATIENCE), 6)
        equal(one.call("bytes", b"abc", timeout=PATIENCE), b"cba")
        received: queue.Queue[str] = queue.Queue()
        two.on("said", received.put)
        equal(two.call("join", "hall", timeout=PATIENCE), "joined")
        one.emit("say", {"room": "hall", "text": "hello"})
        equal(received.get(timeout=PATIENCE), "hello")
        numbers: queue.Queue[int] = queue.Queue()
        one.on("number", numbers.put)
        one.emit("count", 5)
        equal([numbers.get(timeout=PATIENCE) for _ in range(5)], [0, 1, 2, 3, 4])


def check_polling(url: str) -> None:
    _talk(url, ["polling"])


def check_websocket(url: str) -> None:
    _talk(url, ["websocket"])


def check_upgrade(url: str) -> None:
    import socketio as library

    found = library.Client(reconnection=False)
    found.connect(url, wait_timeout=PATIENCE)
    try:
        equal(found.transport(), "websocket")
        equal(found.call("add", [1, 2], timeout=PATIENCE), 3)
    finally:
        found.disconnect()


def check_many(url: str) -> None:
    """Connect forty clients by WebSocket at once, more than there are call threads; and send a plain request beside
    them."""
    import socketio as library

    found = [library.Client(reconnection=False) for _ in range(40)]
    try:
        for one in found:
            one.connect(url, transports=["websocket"], wait_timeout=PATIENCE)
        equal([one.call("add", [1, 1], timeout=PATIENCE) for one in found], [2] * 40)
        with client(url) as http:
            equal(http.get("/version").status_code, 200)
    finally:
        for one in found:
            one.disconnect()


def check_upload(url: str) -> None:
    with client(url) as http:
        equal(http.post("/upload", files={"file": ("x", CONTENT)}).json()["size"], len(CONTENT))
