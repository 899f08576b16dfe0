"""Checks of the Litestar application."""

from __future__ import annotations

from common import client, echo, equal, events, gzipped, in_pieces, upload


def check_state(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], "yes")


def check_items(url: str) -> None:
    with client(url) as http:
        equal(http.post("/items", json={"name": "tea", "price": 2.5}).json(), {"name": "TEA", "price": 5.0})
        equal(http.post("/items", json={"name": "tea"}).status_code, 400)


def check_upload(url: str) -> None:
    upload(url, field="data")


def check_gzip(url: str) -> None:
    gzipped(url, "/text")


def check_thread(url: str) -> None:
    with client(url) as http:
        equal(http.get("/threaded").text, "threaded")


def check_stream(url: str) -> None:
    in_pieces(url, "/stream", 20)


def check_events(url: str) -> None:
    events(url, "/events")


def check_echo(url: str) -> None:
    echo(url)
