"""Points in which servers differ and apps notice: each under this server, uvicorn and gunicorn.

A point is a list of questions to one server. A response on which users of uvicorn or gunicorn cannot rely is a fault.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.applications import life
from bench.applications.served import Served
from bench.applications.table import CONTENDERS, THREADS, Application, Contender
from bench.support.harness import CannotMeasureError

ASGI = Application("points", "", "points_asgi:app", "points_asgi.py")
WSGI = Application("points", "", "points_wsgi:app", "points_wsgi.py", asgi=False)
THREADED = WSGI._replace(flags=THREADS)
LOGS = Application("points", "", "points_logs:app", "points_logs.py", asgi=False)
ASGI_LOGS = Application("points", "", "points_logs:asgi", "points_logs.py")


class Point(NamedTuple):
    """One point.

    ask  sends requests to a server; yields (question, fault or "")
    env  variables that the server is started with
    """

    title: str
    app: Application
    ask: Callable[[Served], Iterator[tuple[str, str]]]
    env: dict[str, str] = {}  # noqa: RUF012 - never changed


# ---------------------------------------------------------------- WebSockets


def _end(served: Served, path: str) -> str:
    """Return how a WebSocket ends for a client: the status that refused it, or its messages and the closing code."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    got: list[str] = []
    try:
        with connect(f"ws://127.0.0.1:{served.port}{path}", open_timeout=4, close_timeout=0.2) as ws:
            try:
                while True:
                    got.append(str(ws.recv(4)))
            except ConnectionClosed as closed:
                return " ".join([*got, "closed", str(closed.rcvd.code if closed.rcvd else 1006)])
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except TimeoutError:
        return " ".join([*got, "open after 4 s"])
    except Exception as error:
        return type(error).__name__


def _ends(served: Served, wanted: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for path, right in wanted.items():
        found = _end(served, path)
        yield path, "" if found in right else found


def before_receive(served: Served) -> Iterator[tuple[str, str]]:
    yield from _ends(
        served,
        {
            "/dependency": ("403",),
            "/exception": ("401",),
            "/close": ("403",),
            "/deny": ("401",),
            "/nowhere": ("403",),
            "/raw": ("websocket.connect open after 4 s",),
        },
    )


def accept_and_return(served: Served) -> Iterator[tuple[str, str]]:
    ended = ("closed 1000", "closed 1006", "closed 1011")
    yield from _ends(
        served,
        {
            "/accept-return": ended,
            "/accept-raise": ended,
            "/accept-send-return": tuple(f"bye {end}" for end in ended),
            "/accept-close": ("closed 4000",),
            "/accept-send-close": ("bye closed 4000",),
        },
    )


# ---------------------------------------------------------------- streams


def _ask(served: Served, path: str, until: bytes, patience: float) -> tuple[socket.socket, bytes]:
    sock = socket.create_connection(("127.0.0.1", served.port), timeout=patience)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    try:
        while until not in received and (data := sock.recv(65536)):
            received += data
    except TimeoutError:
        pass
    return sock, received


def quiet_stream(served: Served) -> Iterator[tuple[str, str]]:
    sock, _ = _ask(served, "/idle", b"hello", 4.0)
    running = served.get("/streams")[1]
    sock.close()
    ended = life.wait(lambda: served.get("/streams")[1] == "0", 6.0)
    yield "runs", "" if running == "1" else f"{running} run"
    yield "ends when its client leaves", "" if ended else "it runs on"


def head_at_once(served: Served) -> Iterator[tuple[str, str]]:
    sock, received = _ask(served, "/quiet", b"\r\n\r\n", 3.0)
    sock.close()
    yield "head", "" if b"\r\n\r\n" in received else "nothing for 3 s"


def behind_middleware(served: Served) -> Iterator[tuple[str, str]]:
    """Request a file, plain and compressed: it must be complete, or at least not empty."""
    size = (served.folder / "points_asgi.py").stat().st_size
    for name in served.get("/behind/list/")[1].split():
        for codings in ("identity", "br, gzip, zstd"):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5.0)
            try:
                connection.request("GET", f"/behind/{name}/file", headers={"Accept-Encoding": codings})
                answer = connection.getresponse()
                found = len(answer.read())
            except (OSError, http.client.HTTPException) as error:
                yield f"{name}, {codings}", type(error).__name__
                continue
            finally:
                connection.close()
            coded = answer.getheader("content-encoding")
            good = answer.status == 200 and (0 < found < size if coded else found == size)
            yield f"{name}, {codings}", "" if good else f"{answer.status}, {found} bytes of {size}"


# ---------------------------------------------------------------- WSGI


def _sixty(served: Served, path: str, good: Callable[[str], bool]) -> str:
    """Send sixty requests, twelve at once. Return how many responses are not good; "" if all are."""
    bad: list[str] = []

    def run() -> None:
        for _ in range(5):
            try:
                text = served.get(path)[1]
                if not good(text):
                    bad.append(f"{len(text.splitlines())} lines")
            except (OSError, http.client.HTTPException) as error:
                bad.append(type(error).__name__)

    started = [threading.Thread(target=run) for _ in range(12)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return f"{len(bad)} of 60: {bad[0]}" if bad else ""


def bound_to_a_thread(served: Served) -> Iterator[tuple[str, str]]:
    yield "Bottle's request", _sixty(served, "/stream", lambda text: text.count("/stream") == 5)
    yield "rows of sqlite3", _sixty(served, "/rows", lambda text: text.split() == list("01234"))
    yield "a context variable", _sixty(served, "/context", lambda text: text.endswith("reset"))
    yield "one thread", _sixty(served, "/threads", lambda text: len(set(text.split())) == 1)


def wsgi_websocket(served: Served) -> Iterator[tuple[str, str]]:
    from websockets.sync.client import connect

    try:
        with connect(f"ws://127.0.0.1:{served.port}/talk", open_timeout=4, close_timeout=2) as ws:
            ws.send("hello")
            yield "echo", "" if ws.recv(4) == "hello" else "another answer"
    except Exception as error:
        yield "echo", f"{type(error).__name__}: {error}"[:100]


# ---------------------------------------------------------------- logs


def own_log(served: Served) -> Iterator[tuple[str, str]]:
    served.get("/marked")
    file = served.folder / "app.log"
    found = file.read_text() if file.exists() else ""
    yield "the app's file has its lines", "" if "APP DEBUG a request for /marked" in found else "it has not"
    log = served.log.read_text()
    count = log.count("own line for /marked")
    yield "a line is there once", "" if count == 1 else f"{count} times"


def logged_mistakes(served: Served) -> Iterator[tuple[str, str]]:
    with suppress(OSError, http.client.HTTPException):
        served.get("/fails")
    logged = life.wait(lambda: "the app's own mistake" in served.log.read_text(), 1.0)
    yield "the traceback is logged", "" if logged else "it is not"


POINTS = (
    Point("a WebSocket app that sends before its first receive()", ASGI, before_receive),
    Point("a WebSocket app that accepts and returns", ASGI, accept_and_return),
    Point("a quiet stream ends when its client leaves", ASGI, quiet_stream),
    Point("the head of a stream comes before its first piece", ASGI, head_at_once),
    Point("a file behind middleware", ASGI, behind_middleware),
    Point("a WSGI stream stays in its thread", WSGI, bound_to_a_thread),
    Point("a WebSocket of a WSGI app", THREADED, wsgi_websocket),
    Point("an app with a log of its own, WSGI", LOGS, own_log),
    Point("an app with a log of its own, ASGI", ASGI_LOGS, own_log),
    Point("dictConfig, and then a mistake, WSGI", LOGS, logged_mistakes, {"APP_LOGGING": "dict"}),
    Point("dictConfig, and then a mistake, ASGI", ASGI_LOGS, logged_mistakes, {"APP_LOGGING": "dict"}),
)

LINES = {
    "uvicorn": (
        "--host 127.0.0.1 --port 0",
        "--port 0 --workers 2",
        "--port 0 --proxy-headers --forwarded-allow-ips *",
        "--port 0 --log-level warning --no-access-log",
        "--port 0 --log-config logging.json",
        "--port 0 --loop uvloop --http httptools --ws websockets",
        "--port 0 --limit-concurrency 100 --backlog 512 --limit-max-requests 1000",
        "--port 0 --timeout-keep-alive 5 --timeout-graceful-shutdown 30",
        "--port 0 --no-server-header --no-date-header",
        "--port 0 --header X-App:points",
        "--port 0 --root-path /api --lifespan on",
        "--port 0 --app-dir . --env-file app.env",
        "--port 0 --interface asgi3 --use-colors",
    ),
    "gunicorn": (
        "-b 127.0.0.1:0 -w 2",
        "-b 127.0.0.1:0 -k gthread --threads 8 --timeout 120 --graceful-timeout 30 --keep-alive 5",
        "-b 127.0.0.1:0 -k asgi",
        "-b 127.0.0.1:0 --max-requests 1000 --max-requests-jitter 50",
        "-b 127.0.0.1:0 --access-logfile - --error-logfile - --log-level info --capture-output",
        "-b 127.0.0.1:0 --worker-tmp-dir /dev/shm --preload --name app",
        "-b 127.0.0.1:0 -e KEY=value --chdir .",
        "-b 127.0.0.1:0 --log-config logging.ini",
        "-b 127.0.0.1:0 -c gunicorn.conf.py",
        "-b 127.0.0.1:0 --limit-request-line 8190 --limit-request-fields 200 --forwarded-allow-ips *",
        "-b 127.0.0.1:0 --reload --reload-extra-file app.env",
    ),
}
"""Command lines as their users write them."""


def command_lines(python: Path, env: dict[str, str], folder: Path, of: str) -> list[str]:
    """Return the command lines of another server that this one refuses, each with its reason."""
    (folder / "app.env").write_text("KEY=value\n")
    (folder / "logging.json").write_text('{"version": 1, "disable_existing_loggers": false}\n')
    (folder / "logging.ini").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nhandlers=\n"
    )
    (folder / "gunicorn.conf.py").write_text('workers = 2\nbind = "127.0.0.1:0"\n')
    found = []
    for line in LINES[of]:
        target = "points_asgi:app" if of == "uvicorn" or "asgi" in line else "points_wsgi:app"
        done = subprocess.run(
            [str(python), "-m", "allcomers", "run", target, "--check-config", *line.split()],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            found.append(f"{line}: {(done.stderr.splitlines() or ['?'])[-1][:160]}")
    return found


def answers(point: Point, contender: Contender, python: Path) -> tuple[int, list[str]]:
    """Return how many questions the point has for this server, and the faults."""
    os.environ.update(point.env)  # a server inherits it
    try:
        served = Served(point.app, contender, python)
    except CannotMeasureError as error:
        return 1, [str(error)]
    finally:
        for name in point.env:
            del os.environ[name]
    try:
        found = list(point.ask(served))
        return len(found), [f"{question}: {fault}" for question, fault in found if fault]
    finally:
        served.stop()


Results = dict[str, dict[str, dict[str, Any]]]
"""By point and server: {"done": int, "faults": [str]}."""


def results(python: Path, names: list[str]) -> Results:
    found: Results = {}
    for point in POINTS:
        for contender in CONTENDERS:
            if contender.name in names and contender.serves(point.app):
                questions, faults = answers(point, contender, python)
                found.setdefault(point.title, {})[contender.name] = {"done": questions, "faults": faults}
                print(
                    f"{point.title}, {contender.name}: {questions - len(faults)} of {questions}",
                    file=sys.stderr,
                    flush=True,
                )
    if "allcomers" in names:
        served = Served(WSGI, CONTENDERS[0], python)
        try:
            for of, lines in LINES.items():
                faults = command_lines(python, served.env, served.folder, of)
                found[f"command lines of {of}"] = {"allcomers": {"done": len(lines), "faults": faults}}
        finally:
            served.stop()
    return found


def table(found: Results, heads: dict[str, str]) -> str:
    """Return a table of Markdown, a row for each point; below it, each fault but those of before."""
    lines = [f"| point | {' | '.join(heads.values())} |", "| --- |" + " --- |" * len(heads)]
    faults = []
    for title, row in found.items():
        lines.append(f"| {title} | {' | '.join(count(row.get(name)) for name in heads)} |")
        for name in heads:
            if name in row and name != "before":
                faults += [f"- {title}, {name}: `{fault.replace(chr(96), chr(39))}`" for fault in row[name]["faults"]]
    return "\n".join([*lines, "", *faults])


def count(one: dict[str, Any] | None) -> str:
    return f"{one['done'] - len(one['faults'])} of {one['done']}" if one else ""
