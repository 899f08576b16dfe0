"""Flask-SocketIO with threads: events, acknowledgements, rooms, a background task; by long polling and by WebSocket."""

import time
from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO, emit, join_room

VERSION = "one"
app = Flask(__name__)
app.secret_key = "secret"
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")


@app.get("/version")
def version() -> str:
    return VERSION


@app.get("/slow")
def slow() -> str:
    time.sleep(1.5)
    return "whole"


@app.post("/upload")
def upload() -> dict[str, int]:
    return {"size": len(request.files["file"].read())}


@socketio.on("add")
def add(data: list[int]) -> int:
    return sum(data)


@socketio.on("join")
def join(room: str) -> str:
    join_room(room)
    return "joined"


@socketio.on("say")
def say(data: dict[str, str]) -> None:
    emit("said", data["text"], to=data["room"])


@socketio.on("count")
def count(most: int) -> None:
    def run(sid: str) -> None:
        for number in range(most):
            socketio.emit("number", number, to=sid)
            socketio.sleep(0.02)

    socketio.start_background_task(run, request.sid)  # type: ignore[attr-defined]


@socketio.on("bytes")
def bytes_back(data: bytes) -> Any:
    return data[::-1]
