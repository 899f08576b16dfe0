"""Checks that several applications share: uploads, streams, WebSockets, a page in Chromium."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

PATIENCE = 10.0
"""Seconds that a user waits for one response."""

CONTENT = bytes(range(256)) * 12_000
"""The content of uploads: 3 MB."""

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def client(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, **options)


def equal(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:120]!r} instead of {str(wanted)[:120]!r}")


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)
    return found


def upload(url: str, path: str = "/upload", field: str = "file") -> None:
    with client(url) as http:
        answer = http.post(path, files={field: ("data.bin", CONTENT, "application/octet-stream")})
        equal(answer.status_code // 100, 2)
        equal(answer.json()["sha256"], SHA256)


def gzipped(url: str, path: str) -> None:
    with client(url, headers={"Accept-Encoding": "gzip"}) as http:
        answer = http.get(path)
        equal(answer.headers.get("content-encoding"), "gzip")
        equal(answer.text, "a line of text\n" * 1000)


def in_pieces(url: str, path: str, count: int) -> None:
    """Check that the pieces of a stream come one after another: the app takes 80 ms or more for them."""
    times = []
    with client(url) as http, http.stream("GET", path) as answer:
        text = ""
        for piece in answer.iter_text():
            times.append(time.monotonic())
            text += piece
    equal(text.count("\n"), count)
    if times[-1] - times[0] < 0.04:
        raise AssertionError("it came all at once")


def events(url: str, path: str) -> None:
    """Read three events of a stream that then is quiet, and leave; the server must go on."""
    with client(url) as http, http.stream("GET", path) as answer:
        equal(answer.status_code, 200)
        equal(answer.headers["content-type"].split(";")[0], "text/event-stream")
        seen = []
        for line in answer.iter_lines():
            if line.startswith("data:"):
                seen.append(line.removeprefix("data:").strip())
            if len(seen) == 3:
                break
        equal(seen, ["0", "1", "2"])
    with client(url) as http:
        equal(http.get("/version").status_code, 200)


def visits(url: str, path: str = "/visits") -> None:
    with client(url) as http:
        for number in (1, 2, 3):
            equal(http.get(path).json()["visits"], number)


@contextmanager
def websocket(url: str, path: str, **options: Any) -> Iterator[Any]:
    from websockets.sync.client import connect

    with connect(url.replace("http", "ws", 1) + path, open_timeout=PATIENCE, close_timeout=PATIENCE, **options) as ws:
        yield ws


def echo(url: str, path: str = "/echo") -> None:
    with websocket(url, path, max_size=None) as ws:
        for text in ("short", "é" * 1000, "x" * 1_000_000):
            ws.send(text)
            equal(ws.recv(PATIENCE), text)


def says_hello(url: str, path: str = "/hello") -> None:
    """Check an app that accepts, sends and returns: its message must come, then the end."""
    from websockets.exceptions import ConnectionClosed

    with websocket(url, path) as ws:
        equal(ws.recv(PATIENCE), "hello")
        try:
            ws.recv(PATIENCE)
        except ConnectionClosed:
            return
    raise AssertionError("it is open still")


def refused(url: str, path: str, status: int, body: str = "") -> None:
    from websockets.exceptions import InvalidStatus

    try:
        with websocket(url, path):
            raise AssertionError("it was accepted")
    except InvalidStatus as error:
        equal(error.response.status_code, status)
        if body and body not in bytes(error.response.body or b"").decode():
            raise AssertionError(f"{error.response.body!r} instead of {body!r}") from None


@contextmanager
def page(url: str, path: str) -> Iterator[Any]:
    """Show a page in Chromium. Raises AssertionError at the end if a request to the server failed."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    failed: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        shown = browser.new_page()
        shown.set_default_timeout(4 * PATIENCE * 1000)
        shown.route(lambda address: not address.startswith(url), lambda route: route.abort())  # fonts of others

        def note(answer: Any) -> None:
            if answer.status >= 400 and answer.url.startswith(url):
                failed.append(f"{answer.status} {answer.url}")

        def cut(request: Any) -> None:
            if request.url.startswith(url) and "ERR_ABORTED" not in (request.failure or ""):
                failed.append(f"{request.failure} {request.url}")

        shown.on("response", note)
        shown.on("requestfailed", cut)
        shown.goto(url + path)
        yield shown
        browser.close()
    if failed:
        raise AssertionError("; ".join(failed[:3]))
