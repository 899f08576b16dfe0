"""Apps whose answers come in pieces, and that note which thread runs what: WSGI apps, a Web class."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import bottle

import allcomers

PAUSE = 0.01
"""Seconds that a slow piece takes: a loop with `--calls auto` moves on."""


class Asked:
    """What a request's query says.

    pieces  how many; size  of each
    slow    each takes a while
    note    a file: which thread did what is written there
    gate    a file: the second piece waits until it is there
    length  Content-Length
    """

    def __init__(self, query: str) -> None:
        said = dict(parse_qsl(query))
        self.pieces = int(said.get("pieces", 5))
        self.size = int(said.get("size", 0))
        self.slow = "slow" in said
        self.length = said.get("length")
        self._note = said.get("note")
        self._gate = said.get("gate")

    def note(self, word: str) -> None:
        if self._note:
            fd = os.open(self._note, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, f"{word} {threading.get_ident()}\n".encode())
            os.close(fd)

    def all(self) -> Iterator[bytes]:
        for number in range(self.pieces):
            self.note("piece")
            if self.slow:
                time.sleep(PAUSE)
            while number == 1 and self._gate and not Path(self._gate).exists():
                time.sleep(0.002)
            yield f"{threading.get_ident()}\n".encode().ljust(self.size, b".")


class Pieces:
    """An iterable with a close() of its own, which a generator's is not."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._pieces = asked.all()

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()  # type: ignore[attr-defined]
        self._asked.note("close")


def threads(environ: dict[str, Any], start_response: Callable[..., Any]) -> Pieces:
    asked = Asked(environ["QUERY_STRING"])
    asked.note("call")
    headers = [("Content-Type", "text/plain")]
    if asked.length:
        headers.append(("Content-Length", asked.length))
    start_response("200 OK", headers)
    return Pieces(asked)


def rows(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Rows streamed from a cursor: a connection of sqlite3 is for the thread that has made it, and for no other."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (a)")
    database.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(5)])
    start_response("200 OK", [("Content-Type", "text/csv")])

    def lines() -> Iterator[bytes]:
        try:
            for (number,) in database.execute("SELECT a FROM t"):
                time.sleep(PAUSE)
                yield f"{number}\n".encode()
        finally:
            database.close()

    return lines()


def file(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """/own: a file, whose close() is the app's; any other: a plain one."""
    asked = Asked(environ["QUERY_STRING"])
    asked.note("call")
    opened = Path(os.environ["LARGE_FILE"]).open("rb")
    if environ["PATH_INFO"] == "/own":
        close = opened.close
        opened.close = lambda: (close(), asked.note("close"))  # type: ignore[method-assign]  # as Django has it
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](opened)


def small(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"small"]


def writing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Pieces:
    """Writes, then gives the rest."""
    asked = Asked(environ["QUERY_STRING"])
    asked.note("call")
    start_response("200 OK", [])(f"{threading.get_ident()}\n".encode())
    return Pieces(asked)


bottled = bottle.Bottle()


@bottled.route("/bottle/<name>")
def recipe(name: str) -> Iterator[str]:
    """Bottle's `request` and `response` are the thread's own: its documentation streams like this."""
    bottle.response.content_type = "text/plain; charset=utf-8"
    return lines_of_path(bottle.request.query.get("slow"))


def lines_of_path(slow: str | None) -> Iterator[str]:
    for _ in range(5):
        yield f"{bottle.request.path}\n"
        if slow:
            time.sleep(PAUSE)


_alone = threading.Lock()


def alone(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Pieces that tell whether other code of this app ran while they were made."""
    asked = Asked(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(asked.pieces):
        is_alone = _alone.acquire(blocking=False)
        time.sleep(0.002)
        if is_alone:
            _alone.release()
        yield (b"alone" if is_alone else b"beside").ljust(asked.size)


APPS: dict[str, Callable[..., Any]] = {
    "alone": alone,
    "threads": threads,
    "rows": rows,
    "bottle": bottled,
    "own": file,
    "plain": file,
    "small": small,
    "writing": writing,
}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    return APPS[environ["PATH_INFO"].split("/")[1]](environ, start_response)


class Web(allcomers.Web):
    def get(self, request: allcomers.Request) -> Any:
        asked = Asked(request.query)
        asked.note("call")
        match request.path:
            case "/whole":
                return allcomers.Response(str(threading.get_ident()).encode(), close=lambda: asked.note("close"))
            case "/fails":
                return allcomers.Response(Pieces(asked), headers=[("A", "\n")], close=lambda: asked.note("close"))
            case "/raises":
                return self._raising(asked)
            case "/hello":
                return "hello"
        return Pieces(asked)

    def _raising(self, asked: Asked) -> Iterator[bytes]:
        try:
            yield from asked.all()
            raise ValueError("on purpose")
        finally:
            asked.note("close")
