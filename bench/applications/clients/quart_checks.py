"""Checks of the Quart application."""

from __future__ import annotations

from collections.abc import Iterator

from common import client, echo, equal, events, refused, says_hello, upload, visits


def check_before_serving(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], ["yes"])


def check_upload(url: str) -> None:
    upload(url)


def check_body(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    with client(url) as http:
        equal(http.post("/body", content=pieces()).json()["size"], 1_000_000)


def check_session(url: str) -> None:
    visits(url)


def check_events(url: str) -> None:
    events(url, "/events")


def check_echo(url: str) -> None:
    echo(url)


def check_hello(url: str) -> None:
    says_hello(url)


def check_denied(url: str) -> None:
    refused(url, "/denied", 401)
