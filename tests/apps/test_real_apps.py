"""Real apps on every model that can run them, with real clients: Flask, Django, Starlette, FastAPI, SQLite."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from allcomers.models import TABLE
from support.harness import PATIENCE, ROOT, Server, chosen, serving, wait_for

REAL = ROOT / "tests" / "support" / "real"
MODELS = [model.name for model in TABLE.values() if not model.obstacle]
OF_ASYNC = [name for name in MODELS if not TABLE[name].is_patched]
LOOPS = [name for name in MODELS if TABLE[name].events is not None]
DATA = random.Random(0).randbytes(1 << 20)
LARGE = 100


def url(server: Server) -> str:
    return "http://{}:{}".format(*server.address)


def client(server: Server) -> httpx.Client:
    return httpx.Client(base_url=url(server), timeout=30, trust_env=False)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- Flask and SQLite


@pytest.fixture(scope="module", params=[*((name, "1") for name in MODELS), ("epoll", "2")], ids="-".join)
def flask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model, workers = request.param
    database = tmp_path_factory.mktemp("flask") / "visits.sqlite3"
    options = ("-m", model, "--workers", workers, "--threads", "4")
    target = f"{REAL}/flask_app.py:app"
    with serving("run", target, *options, env={"REAL_DATABASE": str(database)}, quiet=False) as server:
        yield server
        assert server.stderr.count("Traceback") == server.stderr.count("RuntimeError: on purpose")


def test_flask(flask: Server) -> None:
    with client(flask) as session:
        assert session.get("/hello/World%20%26%20all").text == "<h1>Hello, World &amp; all</h1>"
        assert session.get("/who").json() == {"user": "nobody", "url": f"{url(flask)}/who"}
        answer = session.post("/login", data={"user": "Ada"}, follow_redirects=True)
        assert answer.json()["user"] == session.get("/who").json()["user"] == "Ada"
        assert session.get("/stream?n=1000").text.splitlines()[::999] == ["line 0", "line 999"]
        whole = (REAL / "flask_app.py").read_bytes()
        assert session.get("/file").content == whole
        assert session.get("/file", headers={"Range": "bytes=5-9"}).content == whole[5:10]
        assert session.get("/fail").status_code == 500
        assert session.get("/nothing").status_code == 404
        uploaded = session.post("/upload", files={"file": ("data.bin", DATA)}).json()
        assert uploaded == {"name": "data.bin", "size": len(DATA), "sha256": sha256(DATA)}


def test_sqlite_counts_each_visit_once(flask: Server) -> None:
    def visit(number: int) -> int:
        with client(flask) as session:
            answers = [session.post("/visit/home") for _ in range(10)]
            assert {answer.status_code for answer in answers} == {200}
            return max(int(answer.json()["count"]) for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(visit, range(4))) == 40


# ---------------------------------------------------------------- Django


DJANGO = chosen(
    ["wsgi process", "wsgi thread", "wsgi epoll", "asgi asyncio", "asgi thread"],
    [*(f"wsgi {name}" for name in MODELS), *(f"asgi {name}" for name in OF_ASYNC)],
)


@pytest.fixture(params=DJANGO)
def django(request: pytest.FixtureRequest, board: dict[str, str]) -> Iterator[Server]:
    kind, model = request.param.split()
    with serving("run", f"board.{kind}:app", "-m", model, "--max-body", "200M", env=board) as server:
        yield server


def test_django(django: Server) -> None:
    """The admin works: log in, add a note, see it, delete it; a static file, a stream, an upload."""
    with client(django) as session:
        assert session.get("/admin/", follow_redirects=True).url.path == "/admin/login/"
        token = session.cookies["csrftoken"]
        form = {"username": "admin", "password": "secret", "next": "/admin/", "csrfmiddlewaretoken": token}
        assert session.post("/admin/login/", data=form, follow_redirects=True).url.path == "/admin/"
        title = f"A note on {django.address[1]}"
        form = {"title": title, "text": "text", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
        assert session.post("/admin/board/note/add/", data=form).status_code == 302
        assert title in session.get("/admin/board/note/").text
        assert title in session.get("/notes").json()["notes"]
        style = session.get("/static/admin/css/base.css")
        assert style.headers["content-type"].startswith("text/css")
        assert len(style.content) == int(style.headers["content-length"]) > 10_000
        assert session.get("/stream?n=1000").text.splitlines()[::999] == ["line 0", "line 999"]
        uploaded = session.post("/upload", files={"file": ("data.bin", DATA)}).json()
        assert uploaded == {"name": "data.bin", "size": len(DATA), "sha256": sha256(DATA)}


@pytest.mark.parametrize("django", ["wsgi thread", "asgi asyncio"], indirect=True)
def test_django_takes_100_megabytes(django: Server, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(LARGE):
            digest.update(DATA)
            file.write(DATA)
    with client(django) as session, path.open("rb") as file:
        uploaded = session.post("/upload", files={"file": ("large.bin", file)}).json()
    assert uploaded == {"name": "large.bin", "size": LARGE << 20, "sha256": digest.hexdigest()}


# ---------------------------------------------------------------- Starlette and FastAPI


class Live:
    """A server of the Starlette app, and the notes of the app."""

    def __init__(self, server: Server, notes: Path) -> None:
        self.server = server
        self._notes = notes

    def noted(self, line: str) -> bool:
        return line in self._notes.read_text().splitlines()


@pytest.fixture(scope="module", params=OF_ASYNC)
def starlette(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    notes = tmp_path_factory.mktemp("starlette") / "notes"
    notes.touch()
    target = f"{REAL}/starlette_app.py:app"
    with serving("run", target, "-m", request.param, env={"REAL_NOTES": str(notes)}) as server:
        live = Live(server, notes)
        yield live
    assert live.noted("stopped")


def test_starlette(starlette: Live) -> None:
    with client(starlette.server) as session:
        state = session.get("/state").json()
        assert state == {"word": "from the lifespan", "client": "127.0.0.1", "url": f"{url(starlette.server)}/state"}
        assert session.get("/stream?n=1000").text.splitlines()[::999] == ["line 0", "line 999"]
        answer = session.post("/digest", content=DATA).json()
        assert answer == session.post("/digest", content=iter([DATA[:700_000], DATA[700_000:]])).json()
        assert answer == {"size": len(DATA), "sha256": sha256(DATA)}
        assert session.get("/file").content == (REAL / "starlette_app.py").read_bytes()
        assert session.get("/background?name=one").json() == {"accepted": True}
        wait_for(lambda: starlette.noted("background one"), "the background task")


def test_fastapi(starlette: Live) -> None:
    with client(starlette.server) as session:
        answer = session.post("/api/items", json={"name": "tea", "price": 2.5}).json()
        assert answer == {"item": {"name": "tea", "price": 2.5}, "found": "resource"}
        wait_for(lambda: starlette.noted("resource released"), "the dependency's end")
        assert session.post("/api/items", json={"name": "tea"}).status_code == 422
        assert session.get("/api/thread?n=12").json() == {"squared": 144}
        uploaded = session.post("/api/upload", files={"file": ("data.bin", DATA)}).json()
        assert uploaded == {"name": "data.bin", "size": len(DATA), "sha256": sha256(DATA)}
        assert "/items" in session.get("/api/openapi.json").json()["paths"]


def test_server_sent_events(starlette: Live) -> None:
    """Events arrive one by one, and the app learns that its client has disconnected."""
    with client(starlette.server) as session, session.stream("GET", "/events?name=left") as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(3)] == ["data: event 0", "data: event 1", "data: event 2"]
    wait_for(lambda: starlette.noted("events over left"), "the end of the app's generator")


def test_websockets(starlette: Live, request: pytest.FixtureRequest) -> None:
    host, port = starlette.server.address
    if request.node.callspec.params["starlette"] not in LOOPS:
        with client(starlette.server) as session:
            asked = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            }
            answer = session.get("/echo", headers=asked)
            assert (answer.status_code, "--model asyncio" in answer.text) == (501, True)
        return
    with connect(f"ws://{host}:{port}/echo", proxy=None, max_size=None) as socket:
        for message in ("", "text", b"bytes", "é" * 10_000, DATA):
            socket.send(message)
            assert socket.recv(timeout=PATIENCE) == message
    wait_for(lambda: starlette.noted("socket closed 1000"), "the app to learn of the close")
    with connect(f"ws://{host}:{port}/api/upper", proxy=None) as socket:
        socket.send("word")
        assert socket.recv(timeout=PATIENCE) == "WORD"
