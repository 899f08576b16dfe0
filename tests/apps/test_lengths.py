"""Bodies that are not of the Content-Length that their app gives: the client is not misled, and the log has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.clients import Client, Lost, request
from support.harness import Server, chosen, serving, wait_for
from support.wires import Wire

APP = "tests/support/apps/events_app.py:"
EVERY = [
    *(
        (app, model, calls, pure)
        for app in ("app", "Web")
        for model in ("epoll", "thread")
        for calls in ("inline", "pool")
        for pure in ("", "1")
    ),
    *(("asgi", model, "inline", pure) for model in ("asyncio", "epoll", "thread") for pure in ("", "1")),
]
SOME = [
    ("app", "epoll", "inline", ""),
    ("app", "epoll", "pool", ""),
    ("app", "thread", "pool", "1"),
    ("Web", "epoll", "inline", ""),
    ("Web", "thread", "inline", "1"),
    ("asgi", "asyncio", "inline", ""),
    ("asgi", "epoll", "inline", "1"),
    ("asgi", "thread", "inline", ""),
]


@pytest.fixture(scope="module", params=chosen(SOME, EVERY), ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app, model, calls, pure = request.param
    env = {"ALLCOMERS_PURE": pure} if pure else {}
    with serving("run", APP + app, "-m", model, "--calls", calls, env=env, quiet=False) as server:
        yield server


def reports(server: Server) -> int:
    return server.stderr.count("AnswerError: ")


@pytest.mark.parametrize(
    ("piece", "count", "length"),
    [("Hello", 1, 3), ("Hello", 2, 3), ("Hello", 3, 7), ("Hello", 2, 7)],
    ids=["whole", "first", "second", "last"],
)
def test_one_that_is_too_long(server: Server, piece: str, count: int, length: int) -> None:
    before = reports(server)
    with Client(Wire(server.address)) as client:
        answer = client.ask(request("GET", f"/length?piece={piece}&count={count}&length={length}"))
        assert (answer["Content-Length"], answer.body) == (str(length), (piece * count).encode()[:length])
        if answer.persists:  # what is beyond is not taken for the next response
            assert client.ask(request("HEAD", "/length?piece=a&count=1&length=1")).status == 200
    wait_for(lambda: reports(server) == before + 1, "a line in the log")


@pytest.mark.parametrize("count", [1, 2])
def test_one_that_is_too_short(server: Server, count: int) -> None:
    before = reports(server)
    with Client(Wire(server.address)) as client:
        client.send(request("GET", f"/length?piece=Hello&count={count}&length=20"))
        head = client.head()
        assert head["Content-Length"] == "20"
        assert client.take(5 * count) == b"Hello" * count
        with pytest.raises(Lost):
            client.take(1)
    wait_for(lambda: reports(server) == before + 1, "a line in the log")
    assert f"Content-Length is 20, but the app gave {5 * count} bytes" in server.stderr


@pytest.mark.parametrize("count", [1, 2])
def test_head_has_any_length(server: Server, count: int) -> None:
    before = reports(server)
    with Client(Wire(server.address)) as client:
        for length in (3, 1000):
            target = f"/length?piece=Hello&count={count}&length={length}"
            assert client.ask(request("HEAD", target))["Content-Length"] == str(length)
    assert reports(server) == before


def test_one_that_goes_on_behind_its_end(server: Server) -> None:
    """An iterable is not pulled any further; an async app is told, for it would never learn it."""
    before = reports(server)
    with Client(Wire(server.address)) as client:
        assert client.ask(request("GET", "/length?piece=Hello&count=3&length=5")).body == b"Hello"
    assert server.stderr.count("goes on with a body") <= 1
    assert reports(server) <= before + 1
