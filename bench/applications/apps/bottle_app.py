"""Bottle with streams: generators that read the request as they go, rows of a database, files, uploads."""

import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bottle

VERSION = "one"
app = bottle.Bottle()
folder = Path(tempfile.mkdtemp(prefix="bottle-app-"))
(folder / "large.bin").write_bytes(bytes(range(256)) * 8192)


@app.get("/version")
def version() -> str:
    return VERSION


@app.get("/slow")
def slow() -> str:
    time.sleep(1.5)
    return "whole"


@app.get("/stream")
def stream() -> Iterator[str]:
    bottle.response.content_type = "text/plain; charset=utf-8"

    def generate() -> Iterator[str]:
        for number in range(5):
            yield f"{number} {bottle.request.path} {bottle.request.query.get('of', '')}\n"
            time.sleep(0.02)

    return generate()


@app.get("/rows")
def rows() -> Iterator[str]:
    database = sqlite3.connect(":memory:")
    database.execute("create table numbers (number)")
    database.executemany("insert into numbers values (?)", [(number,) for number in range(5)])
    bottle.response.content_type = "text/csv"
    for (number,) in database.execute("select number from numbers"):
        time.sleep(0.02)
        yield f"{number}\n"


@app.post("/upload")
def upload() -> dict[str, Any]:
    return {"sha256": hashlib.sha256(bottle.request.files["file"].file.read()).hexdigest()}


@app.get("/files/<name>")
def files(name: str) -> Any:
    return bottle.static_file(name, root=str(folder))


@app.get("/fails")
def fails() -> str:
    raise RuntimeError("the app's own mistake")
