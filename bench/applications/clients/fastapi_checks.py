"""Checks of the FastAPI application."""

from __future__ import annotations

from typing import Any

from common import PATIENCE, client, echo, equal, events, refused, says_hello, until, upload, websocket


def check_state(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], "yes")


def check_upload(url: str) -> None:
    upload(url)


def check_background(url: str) -> None:
    with client(url) as http:
        equal(http.post("/task").status_code, 200)
        until(lambda: "task" in http.get("/state").json()["done"], "the background task")


def check_dependency(url: str) -> None:
    with client(url) as http:
        equal(http.get("/private").status_code, 401)
        equal(http.get("/private", headers={"Authorization": "Bearer x"}).json(), "Bearer x")


def check_docs(url: str) -> None:
    with client(url) as http:
        equal(http.get("/docs").status_code, 200)
        equal("/upload" in http.get("/openapi.json").json()["paths"], True)


def check_events(url: str) -> None:
    events(url, "/events")


def check_quiet(url: str) -> None:
    """Check that the head of a stream is sent although its first event is not."""
    with client(url) as http, http.stream("GET", "/quiet", timeout=3.0) as answer:
        equal(answer.status_code, 200)


def check_echo(url: str) -> None:
    echo(url)


def check_broadcast(url: str) -> None:
    with websocket(url, "/room") as one, websocket(url, "/room") as two:
        one.send("first")
        equal(one.recv(PATIENCE), "first")
        until(lambda: (one.send("both"), _soon(two) == "both")[1], "both have it")


def _soon(ws: Any) -> Any:
    try:
        return ws.recv(0.2)
    except TimeoutError:
        return None


def check_denied(url: str) -> None:
    refused(url, "/denied", 401, "no token")


def check_hello(url: str) -> None:
    says_hello(url)


def check_unknown_websocket(url: str) -> None:
    refused(url, "/nowhere", 403)
