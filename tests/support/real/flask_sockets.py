"""Flask with WebSockets: flask-sock, and Flask-SocketIO beside it. Both take the client's socket from the environ."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import flask
from flask_sock import Sock
from flask_socketio import SocketIO, emit
from simple_websocket import ConnectionClosed

NOTED = Path(os.environ.get("REAL_NOTED", "/dev/null"))

app = flask.Flask(__name__)
app.secret_key = "for tests"
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["chat"]}
sock = Sock(app)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")


def note(word: str) -> None:
    fd = os.open(NOTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, word.encode() + b"\n")
    os.close(fd)


@app.get("/")
def hello() -> str:
    return "hello"


@app.get("/plain")
def plain() -> str:
    """Asked with Upgrade too, it answers as ever; and looks whether the keys are there."""
    environ = flask.request.environ
    return str([key in environ for key in ("werkzeug.socket", "gunicorn.socket")])


@sock.route("/echo")
def echo(ws: Any) -> None:
    note("opened")
    try:
        while (message := ws.receive()) != "close":
            if message == "fail":
                raise ValueError("on purpose")
            ws.send(message)
    except ConnectionClosed:
        note("left")
        raise
    finally:
        note("closed")


@sock.route("/pushes")
def pushes(ws: Any) -> None:
    """Sends until its client is gone."""
    try:
        while True:
            ws.send("x" * 100_000)
    except (ConnectionClosed, OSError) as error:
        note(type(error).__name__)


@app.get("/gunicorn")
def as_gunicorn() -> Any:
    """What libraries do that know gunicorn alone: they speak, then raise StopIteration."""
    client = flask.request.environ["gunicorn.socket"]

    class Spoken(flask.Response):
        def __call__(self, *_: Any) -> Any:
            client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            client.settimeout(10)
            while data := client.recv(7):
                client.send(data.upper())
            raise StopIteration

    return Spoken()


@socketio.on("connect")
def connected() -> None:
    emit("threads", threading.active_count())


@socketio.on("shout")
def shout(text: str) -> str:
    emit("heard", text.upper())
    return f"{len(text)} letters"


@socketio.on("all")
def to_all(text: str) -> None:
    emit("told", text, broadcast=True)
