"""Checks of the Bottle application."""

from __future__ import annotations

import threading
from collections.abc import Callable

from common import client, equal, in_pieces, upload


def _many(ask: Callable[[], None], threads: int = 12, each: int = 5) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(each):
                ask()
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise AssertionError(f"{len(errors)} of {threads} threads failed: {type(errors[0]).__name__}: {errors[0]}")


def check_stream(url: str) -> None:
    wanted = "".join(f"{number} /stream that\n" for number in range(5))

    def ask() -> None:
        with client(url) as http:
            equal(http.get("/stream?of=that").text, wanted)

    _many(ask)


def check_rows(url: str) -> None:
    def ask() -> None:
        with client(url) as http:
            equal(http.get("/rows").text, "0\n1\n2\n3\n4\n")

    _many(ask)


def check_in_pieces(url: str) -> None:
    in_pieces(url, "/stream", 5)


def check_upload(url: str) -> None:
    upload(url)


def check_file(url: str) -> None:
    with client(url) as http:
        equal(http.get("/files/large.bin").content, bytes(range(256)) * 8192)
        part = http.get("/files/large.bin", headers={"Range": "bytes=256-511"})
        equal((part.status_code, part.content), (206, bytes(range(256))))


def check_error(url: str) -> None:
    with client(url) as http:
        equal(http.get("/fails").status_code, 500)
        equal(http.get("/version").text, "one")
