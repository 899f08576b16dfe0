"""WSGI apps on each server: the thread of a stream, and WebSockets.

gunicorn (gthread), waitress and werkzeug beside allcomers, all with 32 threads, in one environment with the frameworks.
`--before DIR` adds another checkout of allcomers. A cell is an outcome: how many of 60 responses, six at a time, were
wrong, or what a WebSocket's client got. `--write` puts the table into docs/frameworks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bench.frameworks import asgi_faults
from bench.frameworks.asgi_faults import NOTES, SECONDS, Check, Make, await_note, get
from bench.support import harness, pages, processes
from bench.support.harness import Server

REQUIRES = (
    *("gunicorn==27.0.1", "waitress==3.0.2", "werkzeug==3.1.9", "bottle==0.13.4", "django==6.1.3", "websockets"),
    *("flask==3.1.3", "flask-sock", "flask-socketio==5.7.0", "simple-websocket"),
)
APPS = "bench.frameworks.wsgi_fault_apps"
ANSWERS = 60
CLIENTS = 6


def options(parser: argparse.ArgumentParser) -> None:
    asgi_faults.options(parser)
    parser.add_argument("--write", action="store_true", help=f"put the table into {pages.PAGE.name}")


def run(args: argparse.Namespace) -> None:
    servers = columns(args.before)
    rows = asgi_faults.measure(CHECKS, servers, REQUIRES, args)
    harness.save("wsgi_faults", rows)
    if args.write:
        shown = [name for name in servers if not args.servers or name in args.servers]
        head = ["what", *shown], ["---"] * (1 + len(shown))
        shorter = [[what.partition(" ")[2], *cells] for what, *cells in rows]
        pages.write("wsgi_faults", "".join(f"| {' | '.join(row)} |\n" for row in (*head, *shorter)))


# Servers -------------------------------------------------------------------------------------------------


def columns(before: str | None) -> dict[str, Make]:
    found = {}
    for name, checkout in {"before": before, "allcomers": str(harness.ROOT)}.items():
        if checkout:
            found[name] = asgi_faults.allcomers(Path(checkout).resolve(), APPS, "--interface", "wsgi")
            found[f"{name} -m thread"] = asgi_faults.allcomers(
                Path(checkout).resolve(), APPS, "--interface", "wsgi", "--model", "thread"
            )
    return {**found, "gunicorn gthread": gunicorn, "waitress": waitress, "werkzeug": werkzeug}


def gunicorn(python: str, app: str, port: int) -> list[str]:
    more = ["-k", "gthread", "--threads", "32", "--no-control-socket", "-b", f"127.0.0.1:{port}"]
    return [python, "-m", "gunicorn", *more, f"{APPS}:{app}"]


def waitress(python: str, app: str, port: int) -> list[str]:
    return [python, "-m", "waitress", "--threads", "32", f"--listen=127.0.0.1:{port}", f"{APPS}:{app}"]


def werkzeug(python: str, app: str, port: int) -> list[str]:
    code = f"from {APPS} import {app}; from werkzeug.serving import run_simple as run"
    return [python, "-c", f"{code}; run('127.0.0.1', {port}, {app}, threaded=True)"]


# What is asked -------------------------------------------------------------------------------------------


def amiss(path: str, is_right: Callable[[int, bytes], bool]) -> Callable[[Server], str]:
    """Return how many of the responses to `path`, which is given their number, are wrong or cut."""

    def ask(server: Server) -> str:
        def one(number: int) -> bool:
            try:
                status, _, body = get(server, path.format(number))
            except (OSError, HTTPException):
                return False
            return status == 200 and is_right(number, body)

        with ThreadPoolExecutor(CLIENTS) as pool:
            return f"{list(pool.map(one, range(ANSWERS))).count(False)} of {ANSWERS}"

    return ask


def is_whole(_: int, body: bytes) -> bool:
    return body == b"0\n1\n2\n3\n4\n5\n"


def is_of_one_thread(_: int, body: bytes) -> bool:
    return len(set(body.split())) == 1


def is_its_own(number: int, body: bytes) -> bool:
    return body == b"/%d\n" % number * 6


def close_elsewhere(server: Server) -> str:
    """Return how many close() were in another thread than their call, or did not come."""
    amiss("/?{}", lambda *_: True)(server)
    for number in range(ANSWERS):
        await_note(f"{number} ")
    notes = dict(line.split() for line in NOTES.read_text().splitlines())
    return f"{sum(notes.get(str(number)) != 'True' for number in range(ANSWERS))} of {ANSWERS}"


def connections_left(server: Server) -> str:
    """Return the descriptors of the database that stay open when all is answered; a response may end before its
    close()."""
    cut = amiss("/rows", is_whole)(server)
    until = time.monotonic() + SECONDS
    while (left := open_databases(server)) and time.monotonic() < until:
        time.sleep(0.02)
    return f"{left} open, {cut} cut"


def open_databases(server: Server) -> int:
    database = Path(f"{NOTES}.sqlite3")
    left = 0
    for pid in processes.tree(server.pid):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                left += fd.readlink() == database
    return left


def websocket(path: str, talk: Callable[[ClientConnection], bool]) -> Callable[[Server], str]:
    """Return the outcome of `talk` with a WebSocket; the status if there is none."""

    def ask(server: Server) -> str:
        host, port = server.address
        try:
            with connect(f"ws://{host}:{port}{path}", proxy=None, open_timeout=SECONDS, close_timeout=1) as peer:
                return "works" if talk(peer) else "other text"
        except InvalidStatus as error:
            return str(error.response.status_code)
        except Exception as error:  # whatever the library raises for a malformed response
            return type(error).__name__

    return ask


def echoes(peer: ClientConnection) -> bool:
    for text in ("hello", "x" * 100_000):
        peer.send(text)
        if peer.recv(SECONDS) != text:
            return False
    return True


def socketio(peer: ClientConnection) -> bool:
    """Engine.IO's open, Socket.IO's connect, and an event each way (their protocols 4 and 5)."""
    if not str(peer.recv(SECONDS)).startswith("0{"):
        return False
    peer.send("40")
    if not str(peer.recv(SECONDS)).startswith("40{"):
        return False
    peer.send("42" + json.dumps(["shout", "hello"]))
    return peer.recv(SECONDS) == '42["heard","HELLO"]'


CHECKS = (
    Check("5", "rows of a sqlite3 cursor: cut", "cursor", amiss("/", is_whole)),
    Check("5", "Bottle's recipe: another's path, or cut", "recipe", amiss("/{}", is_its_own)),
    Check("5", "a block in another thread than its call", "pieces", amiss("/", is_of_one_thread)),
    Check("5", "close() in another thread than its call", "pieces", close_elsewhere),
    Check("5", "Django: its connections to the database", "django", connections_left),
    Check("7", "a WebSocket of simple-websocket", "simple", websocket("/", echoes)),
    Check("7", "a WebSocket of flask-sock", "sock", websocket("/", echoes)),
    Check("7", "Flask-SocketIO by WebSocket", "socketio", websocket("/socket.io/?EIO=4&transport=websocket", socketio)),
)

if __name__ == "__main__":
    sys.exit("python -m bench wsgi_faults")
