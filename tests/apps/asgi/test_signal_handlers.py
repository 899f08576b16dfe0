"""loop.add_signal_handler() of an app: it is called, and the server still hears its own signals (asyncio_loops.py)."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from allcomers.system import asyncio_loops
from allcomers.system.asyncio_loops import new_event_loop, new_selector_loop
from support.harness import Server, chosen, serving, wait_for

LOOPS = ("asyncio", "select", "poll", "epoll", "epoll-et")
BLOCKING = ("iterative", "process", "thread", "thread-pool")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("model", chosen(["asyncio", "epoll", "thread", "iterative"], LOOPS + BLOCKING))
def test_handlers_of_an_app_beside_the_servers(model: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    env = {"SIGNALS_FILE": str(path), "SIGNALS_DO": "handle"}
    with serving("run", "tests/support/apps/signals_app.py:app", "--model", model, env=env) as server:
        wait_for(lambda: server.workers(), "a worker")
        (worker,) = server.workers()
        expected = []
        for signum in (signal.SIGWINCH, signal.SIGUSR2, signal.SIGWINCH):
            os.kill(worker, signum)
            if model in LOOPS:  # the loop of a lifespan stands still under the others
                expected.append(signum.name)
                wait_for(lambda expected=expected: lines(path) == expected, "the app's handler")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10  # a third of the graceful time-out
        assert server.reports == []
    told = lines(path)
    assert told[-1] == "shut down"
    assert "SIGTERM" in told[len(expected) :]


@pytest.mark.parametrize("model", chosen(["asyncio", "epoll", "thread"], LOOPS + BLOCKING))
def test_handlers_that_were_removed_leave_the_servers(model: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    env = {"SIGNALS_FILE": str(path), "SIGNALS_DO": "remove"}
    with serving("run", "tests/support/apps/signals_app.py:app", "--model", model, env=env) as server:
        wait_for(lambda: server.workers(), "a worker")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGUSR2)  # ignored, as before
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: lines(path) == ["shut down"], "the worker to end")
        assert has_another(server, worker)
        assert server.stop() == 0


def has_another(server: Server, worker: int) -> bool:
    wait_for(lambda: server.workers() and worker not in server.workers(), "another worker")
    return True


def test_a_worker_that_is_told_to_stop_while_it_starts(tmp_path: Path) -> None:
    """uvloop takes the signals for itself when it runs: also while the app starts."""
    app = tmp_path / "app.py"
    app.write_text(
        "import asyncio, os, signal\n"
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        f"    if not os.path.exists({str(tmp_path / 'told')!r}):\n"
        f"        open({str(tmp_path / 'told')!r}, 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        await asyncio.sleep(0.05)\n"
        "    await send({'type': 'lifespan.startup.complete'})\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.shutdown.complete'})\n"
    )
    with serving("run", f"{app}:app", "--model", "asyncio") as server:
        wait_for(lambda: "is to be replaced: a signal told it to stop" in server.stderr, "the worker to obey")


# ---------------------------------------------------------------- the loops alone

Make = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[new_event_loop, new_selector_loop])
def events(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    before = signal.getsignal(signal.SIGWINCH)
    loop: asyncio.AbstractEventLoop = request.param()
    yield loop
    loop.close()
    assert signal.getsignal(signal.SIGWINCH) == before


def test_loops_are_what_they_were() -> None:
    with_uvloop = asyncio_loops.new_event_loop()
    assert with_uvloop.__class__.__mro__[2].__module__ == "uvloop"
    with_uvloop.close()


def test_a_handler_runs_in_the_loop_in_its_own_context(events: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    called: list[tuple[Any, ...]] = []

    async def wait() -> None:
        token = variable.set("added")
        events.add_signal_handler(signal.SIGWINCH, lambda *args: called.append((*args, variable.get())), 1, "two")
        variable.reset(token)
        for number in range(2):
            signal.raise_signal(signal.SIGWINCH)
            while len(called) <= number:
                await asyncio.sleep(0.001)

    events.run_until_complete(asyncio.wait_for(wait(), 30))
    assert called == [(1, "two", "added")] * 2


def test_adding_again_replaces_and_removing_restores(events: asyncio.AbstractEventLoop) -> None:
    before = signal.getsignal(signal.SIGWINCH)
    called: list[int] = []
    events.add_signal_handler(signal.SIGWINCH, called.append, 1)
    events.add_signal_handler(signal.SIGWINCH, called.append, 2)
    signal.raise_signal(signal.SIGWINCH)
    events.run_until_complete(asyncio.sleep(0))
    events.run_until_complete(asyncio.sleep(0))
    assert called == [2]
    assert events.remove_signal_handler(signal.SIGWINCH)
    assert not events.remove_signal_handler(signal.SIGWINCH)
    assert signal.getsignal(signal.SIGWINCH) == before


def test_what_cannot_be_handled(events: asyncio.AbstractEventLoop) -> None:
    async def coroutine() -> None: ...

    with pytest.raises(TypeError):
        events.add_signal_handler(signal.SIGWINCH, coroutine)
    with pytest.raises(RuntimeError):
        events.add_signal_handler(signal.SIGKILL, print)
    with pytest.raises(ValueError):
        events.add_signal_handler(0, print)
    raised: list[str] = []

    def add() -> None:
        try:
            events.add_signal_handler(signal.SIGWINCH, print)
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_a_closed_loop_is_not_called(events: asyncio.AbstractEventLoop) -> None:
    loop = new_selector_loop()
    loop.add_signal_handler(signal.SIGWINCH, print)
    handler = signal.getsignal(signal.SIGWINCH)
    loop.close()
    assert callable(handler)
    handler(signal.SIGWINCH, None)  # it was on its way
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(signal.SIGWINCH, print)
