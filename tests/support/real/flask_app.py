"""A Flask app: forms, sessions, uploads, streams, files; and a counter in SQLite, written by many at once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import flask

app = flask.Flask(__name__)
app.secret_key = "for tests"
DATABASE = os.environ.get("REAL_DATABASE", "/nowhere")


def database() -> sqlite3.Connection:
    """This request's own connection, made when it is first needed."""
    if "database" not in flask.g:
        flask.g.database = sqlite3.connect(DATABASE, timeout=30, isolation_level=None)
        flask.g.database.execute("CREATE TABLE IF NOT EXISTS visits (name TEXT PRIMARY KEY, count INTEGER NOT NULL)")
    connection: sqlite3.Connection = flask.g.database
    return connection


@app.teardown_appcontext
def close_database(error: BaseException | None) -> None:
    connection = flask.g.pop("database", None)
    if connection is not None:
        connection.close()


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return flask.render_template_string("<h1>Hello, {{ name }}</h1>", name=name)


@app.post("/login")
def login() -> flask.Response:
    flask.session["user"] = flask.request.form["user"]
    return flask.redirect(flask.url_for("who"))


@app.get("/who")
def who() -> dict[str, str]:
    return {"user": flask.session.get("user", "nobody"), "url": flask.request.url}


@app.post("/upload")
def upload() -> dict[str, object]:
    file = flask.request.files["file"]
    digest, size = hashlib.sha256(), 0
    while piece := file.stream.read(1 << 16):
        digest.update(piece)
        size += len(piece)
    return {"name": file.filename, "size": size, "sha256": digest.hexdigest()}


@app.get("/stream")
def stream() -> flask.Response:
    @flask.stream_with_context
    def lines() -> Iterator[str]:
        for number in range(int(flask.request.args["n"])):
            yield f"line {number}\n"

    return flask.Response(lines(), mimetype="text/plain")


@app.get("/file")
def file() -> flask.Response:
    return flask.send_file(Path(__file__), conditional=True)


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("on purpose")


@app.post("/visit/<name>")
def visit(name: str) -> dict[str, int]:
    connection = database()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO visits VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = count + 1",
        (name,),
    )
    (count,) = connection.execute("SELECT count FROM visits WHERE name = ?", (name,)).fetchone()
    connection.execute("COMMIT")
    return {"count": count}
