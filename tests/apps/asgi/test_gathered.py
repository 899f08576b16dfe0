"""Pieces that an ASGI app sends without waiting go out together; one for which it has waited, at once."""

from __future__ import annotations

import time

import pytest

from support.apps.gathered_app import HOLD
from support.clients import request
from support.event_servers import client_of
from support.harness import ROOT, serving

TARGET = f"{ROOT}/tests/support/apps/gathered_app.py:app"
LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
GET = b"GET /events HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "plain"])
@pytest.mark.parametrize("model", LOOPS)
def test_an_event_is_not_late(model: str, pure: str) -> None:
    """Its app keeps the loop after it, so what waits for the end of the turn comes HOLD seconds too late."""
    late = []
    with (
        serving("run", TARGET, "--model", model, env={"ALLCOMERS_PURE": pure}) as server,
        server.connect() as sock,
    ):
        sock.sendall(GET)
        while data := sock.recv(65536):
            now = time.monotonic()
            late += [now - float(line) for line in data.split(b"\r\n") if line.endswith(b"\n")]
    assert len(late) == 20
    assert sorted(late)[10] < HOLD / 2


@pytest.mark.parametrize(
    ("options", "sizes"),
    [([], [10, 43]), (["--no-gather"], [10, 10, 10, 10, 10, 3])],
    ids=["gathered", "each"],
)
@pytest.mark.parametrize("model", LOOPS)
def test_what_follows_without_a_wait_is_gathered(model: str, options: list[str], sizes: list[int]) -> None:
    with serving("run", TARGET, "--model", model, *options) as server, client_of(server) as client:
        assert client.ask(request("GET", "/burst")).chunks == sizes
