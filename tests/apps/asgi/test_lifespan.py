"""The lifespan of an ASGI app, without a server: who knows it, who fails, what is said of that."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from allcomers.apps.asgi.lifespan import Life, Lifespan
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.errors import AppError
from support.apps import asgi_apps, lifespan_apps
from support.apps.asgi_messages import Receive, Scope, Send

Begin = Callable[..., tuple[Life, AsgiRuntime]]


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the app's notes."""
    path = tmp_path / "life"
    path.touch()
    monkeypatch.setattr(lifespan_apps, "LIFE", str(path))
    return path


@pytest.fixture
def begin(noted: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Start an app, which goes wrong in the way that `wrong` names."""

    def begin(app: Any, how: str = "auto", wrong: str = "") -> tuple[Life, AsgiRuntime]:
        monkeypatch.setenv("ASGI_WRONG", wrong)
        events = asyncio.new_event_loop()
        host = AsgiRuntime(app=app, events=events, report=lambda error, request: None)
        life = Life(events, (Lifespan(app, how), host))
        try:
            life.begin()
        except AppError:
            events.close()
            raise
        return life, host

    return begin


def words(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("how", ["auto", "on"])
def test_from_start_to_end(begin: Begin, noted: Path, how: str) -> None:
    life, host = begin(lifespan_apps.living, how)
    assert words(noted) == ["lifespan.startup"]
    assert host.state == {"word": "kept", "shared": {"requests": 0}}
    life.end(monotonic() + 5, 5)
    assert words(noted) == ["lifespan.startup", "lifespan.shutdown", "shut down"]


def test_off(begin: Begin, noted: Path) -> None:
    life, host = begin(lifespan_apps.living, "off")
    life.end(monotonic() + 5, 5)
    assert host.state is None
    assert words(noted) == []


async def raises_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def exits_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    sys.exit("this is no lifespan for me")


UNAWARE = {
    asgi_apps.app: "ValueError: no lifespan here",
    lifespan_apps.unaware: "AnswerError: 'http.response.start' is no message of a lifespan",
    lifespan_apps.silent: "it returned before lifespan.startup.complete",
    raises_at_once: "AssertionError",
    exits_at_once: "SystemExit: this is no lifespan for me",
}


@pytest.mark.parametrize("app", UNAWARE)
def test_an_app_that_knows_none_is_served_without(begin: Begin, app: Any) -> None:
    life, host = begin(app)
    assert host.state is None
    life.end(monotonic() + 5, 5)


@pytest.mark.parametrize("app", UNAWARE)
def test_an_app_that_knows_none_is_told_where_it_must(begin: Begin, app: Any) -> None:
    with pytest.raises(AppError) as caught:
        begin(app, "on")
    assert str(caught.value).startswith(f"the app's start-up failed: {UNAWARE[app]}")


@pytest.mark.parametrize("wrong", ["raises", "exits", "returns"])
def test_an_app_that_ends_where_it_should_start_is_served_without(
    begin: Begin, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """ "If an exception is raised when calling the application callable with a lifespan.startup message or a scope of
    type lifespan, the server must continue but not send any lifespan events." But it is told."""
    life, host = begin(lifespan_apps.living, "auto", wrong)
    assert host.state is None
    life.end(monotonic() + 5, 5)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == (wrong != "returns")
    assert all("'at the start') when its start-up was due" in line and "--lifespan on" in line for line in said)


@pytest.mark.parametrize(
    ("how", "wrong", "why", "traceback"),
    [
        ("on", "raises", "Deliberate: at the start", True),
        ("on", "exits", "SystemExit: at the start", True),
        ("on", "returns", "it returned before lifespan.startup.complete", False),
        ("auto", "says", "the database is not there", False),
        ("auto", "says-and-raises", "Deliberate: at the start", True),
    ],
)
def test_an_app_that_cannot_start(begin: Begin, how: str, wrong: str, why: str, traceback: bool) -> None:
    with pytest.raises(AppError) as caught:
        begin(lifespan_apps.living, how, wrong)
    assert str(caught.value).startswith(f"the app's start-up failed: {why}")
    assert ("lifespan_apps.py" in caught.value.traceback) == traceback
    assert "/src/allcomers" not in caught.value.traceback


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("raises-at-the-end", "Deliberate: at the end"),
        ("exits-at-the-end", "SystemExit: at the end"),
        ("says-at-the-end", "the app's shut-down failed: could not flush"),
        ("dies", "Deliberate: while it serves"),
        ("hangs", "the app's shut-down took more than 0.05 s and is given up"),
    ],
)
def test_an_app_that_ends_badly(begin: Begin, caplog: pytest.LogCaptureFixture, wrong: str, said: str) -> None:
    life, _ = begin(lifespan_apps.living, "auto", wrong)
    life.end(0.0, 0.05)
    assert said in caplog.text
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.ERROR


def test_an_app_that_asks_again_and_again(begin: Begin, noted: Path) -> None:
    """receive() may be cancelled, as wait_for() does it, and loses nothing thereby."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        while True:
            try:
                message = await asyncio.wait_for(receive(), 0.001)
            except TimeoutError:
                continue
            lifespan_apps.note(str(noted), message["type"])
            await send({"type": "lifespan.shutdown.complete"})

    life, host = begin(app)
    host.events.run_until_complete(asyncio.sleep(0.01))
    life.end(monotonic() + 5, 5)
    assert words(noted) == ["lifespan.shutdown"]


def test_what_an_app_forgets_is_cancelled(begin: Begin, noted: Path) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            lifespan_apps.note(str(noted), "over")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.create_task(work()))
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        lifespan_apps.note(str(noted), "shuts down")
        await send({"type": "lifespan.shutdown.complete"})

    life, _ = begin(app)
    life.end(monotonic() + 5, 5)
    assert words(noted) == ["shuts down", "over"]
