"""A Flask app that streams rows: its request's own connection to SQLite is closed when the last has gone out."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator

import flask

app = flask.Flask(__name__)
DATABASE = os.environ.get("REAL_DATABASE", "/nowhere")


@app.before_request
def note_thread() -> None:
    flask.g.thread = threading.get_ident()


@app.teardown_request
def close(error: BaseException | None) -> None:
    """Flask runs this after the view, and again after its stream."""
    assert flask.g.thread == threading.get_ident()
    if "database" in flask.g:
        flask.g.pop("database").close()  # which raises in another thread than that of connect()


@app.get("/rows/<int:count>")
def rows(count: int) -> flask.Response:
    @flask.stream_with_context
    def lines() -> Iterator[str]:
        flask.g.database = sqlite3.connect(DATABASE)
        for (number,) in flask.g.database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n", (count,)
        ):
            if "slow" in flask.request.args:
                time.sleep(0.01)
            yield f"{flask.request.path} {number}\n"

    return flask.Response(lines(), mimetype="text/plain")
