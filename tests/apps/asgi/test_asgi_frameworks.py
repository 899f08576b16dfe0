"""Real frameworks, here and on uvicorn: what works there works here, and ends in the same way."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx
import pytest
from bench.frameworks import middlewares
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.harness import PATIENCE, ROOT, Server, chosen, serving, wait_for

REAL = ROOT / "tests" / "support" / "real"
LOOPS = ("asyncio", "epoll", "select", "poll", "epoll-et")
BLOCKING = ("iterative", "process", "thread", "thread-pool")

PATHS = {
    "fastapi": (
        "dependency", "exception", "close", "deny", "deny-in-pieces", "accept-and-raise", "accept-and-return",
        "send-and-return", "send-and-close", "accept-and-close", "unknown",
    ),
    "starlette": ("unknown",),
    "quart_app": ("echo", "return", "abort", "refuse", "unknown"),
    "litestar": ("guarded", "echo", "close", "unknown"),
    "a2wsgi": ("any",),
}  # fmt: skip

Talks: TypeAlias = dict[str, tuple[Any, ...]]

BETTER: Talks = {
    "accept-and-raise": ([], 1011, ""),
    "accept-and-return": ([], 1000, ""),
    "send-and-return": (["bye"], 1000, ""),
}
"""Where the app ends without a word, uvicorn drops the connection; the specification has it closed."""


@contextmanager
def uvicorn(app: str) -> Iterator[str]:
    """Serve `app` by uvicorn. Return "HOST:PORT"."""
    command = [sys.executable, "-W", "ignore", "-m", "uvicorn", f"websocket_apps:{app}", "--port", "0"]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([*command, "--app-dir", str(REAL)], stderr=log, stdout=subprocess.DEVNULL)
        try:
            said = lambda: re.search(r"running on http://([0-9.:]+)", Path(log.name).read_text())  # noqa: E731
            yield wait_for(said, "uvicorn to listen")[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def talk(address: str, path: str) -> tuple[Any, ...]:
    """How a WebSocket there goes: a status; or the messages that came, the code and the reason of the close."""
    try:
        socket = connect(f"ws://{address}/{path}", proxy=None)
    except InvalidStatus as refused:
        return (refused.response.status_code,)
    got: list[str | bytes] = []
    with socket:
        if path == "echo":
            socket.send("hello")
        try:
            while True:
                got.append(socket.recv(timeout=PATIENCE))
        except ConnectionClosed:
            return got, socket.close_code, socket.close_reason


@pytest.fixture(scope="module", params=PATHS)
def beside(request: pytest.FixtureRequest) -> Iterator[tuple[str, Talks]]:
    """A framework, and how the talks of its paths go on uvicorn."""
    with uvicorn(request.param) as address:
        yield request.param, {path: talk(address, path) for path in PATHS[request.param]}


@pytest.mark.parametrize(("model", "pure"), chosen([("asyncio", ""), ("epoll", "1")], [(model, "") for model in LOOPS]))
def test_websockets_go_as_on_uvicorn(beside: tuple[str, Talks], model: str, pure: str) -> None:
    name, expected = beside
    target = f"{REAL / 'websocket_apps.py'}:{name}"
    with serving("run", target, "--model", model, env={"ALLCOMERS_PURE": pure}, quiet=False) as server:
        address = "{}:{}".format(*server.address)
        assert {path: talk(address, path) for path in expected} == {
            path: BETTER.get(path, found) for path, found in expected.items()
        }
        raised = server.stderr.count("RuntimeError: on purpose")
        assert raised == ("accept-and-raise" in expected)
        assert server.stderr.count("Traceback") == raised, server.stderr


def test_the_talks_are_what_they_should_be(beside: tuple[str, Talks]) -> None:
    """uvicorn could have changed its ways."""
    name, found = beside
    if name == "fastapi":
        assert found["dependency"] == found["close"] == found["unknown"] == (403,)
        assert found["exception"] == found["deny"] == (401,)
        assert found["accept-and-close"] == ([], 4000, "why")
    if name == "quart_app":
        assert found["echo"][0] == ["welcome", "hello"]


# ---------------------------------------------------------------- files behind middlewares


class Case(NamedTuple):
    """A path, what the client takes, and the coding that the answer is to have."""

    path: str
    takes: str
    coding: str | None


FILES = [
    Case("/plain/file.js", "gzip, br", None),
    Case("/gzip/file.js", "gzip", "gzip"),
    Case("/gzip/static/file_app.py", "gzip", "gzip"),
    Case("/br/file.js", "br", "br"),
    Case("/br/static/file_app.py", "br", "br"),
    Case("/limited/file.js", "identity", None),
    Case("/limited/static/file_app.py", "identity", None),
]


@pytest.fixture(scope="module", params=chosen(["asyncio", "thread"], LOOPS + BLOCKING))
def files(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("run", f"{REAL / 'file_app.py'}:app", "--model", request.param, "--lifespan", "off") as server:
        yield server


@pytest.mark.parametrize("case", FILES)
def test_files_behind_middlewares(files: Server, case: Case) -> None:
    url = "http://{}:{}".format(*files.address)
    with httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(2):
            answer = client.get(case.path, headers={"Accept-Encoding": case.takes})
            assert (answer.status_code, answer.headers.get("content-encoding")) == (200, case.coding)
            assert answer.content == (REAL / "file_app.py").read_bytes()


# ---------------------------------------------------------------- middlewares and what they know

FINE = {
    "starlette_gzip": ("body", "early_hint", "trailers", "debug"),
    "starlette_cors": middlewares.EXTENSIONS,
    "starlette_base_http": ("body", "pathsend", "early_hint", "debug"),
    "brotli_asgi": ("body", "debug"),
    "slowapi_asgi": ("body", "debug"),
}
"""What passes through these where all is offered; `python -m bench middlewares` has the whole table."""


def test_why_files_are_sent_by_path_only_where_that_is_asked_for() -> None:
    app = f"{ROOT / 'bench' / 'frameworks' / 'middleware_apps.py'}:app"
    found: dict[tuple[str, str], str] = {}
    with serving("run", app, "--asgi-pathsend", "--lifespan", "off", quiet=False) as server:
        for name in FINE:
            plain = middlewares.ask(server.address, f"/{name}/body")
            for one in middlewares.EXTENSIONS:
                found[name, one] = middlewares.verdict(plain, middlewares.ask(server.address, f"/{name}/{one}"), one)
    assert {(name, one): found[name, one] for name in FINE for one in FINE[name]} == {
        (name, one): "ok" for name in FINE for one in FINE[name]
    }
    assert {"500"} <= {found[name, "pathsend"] for name in FINE}  # if not: see docs/apps.md, "Extensions"
