"""The event loops of ASGI calls under the blocking models: few are kept, and none for long."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from allcomers.apps.asgi import blocking
from allcomers.apps.asgi.blocking import KEPT_LOOPS, IdleLoops
from support.clients import Client
from support.harness import ask, serving, wait_for
from support.wires import Lost, Wire

AT_ONCE = 60

APP = f"""
import os, threading
gate = threading.Barrier({AT_ONCE})
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/wait":
        gate.wait(30)
    body = b"%d" % len(os.listdir("/proc/self/fd"))
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body}})
"""


def test_calls_that_ran_at_once_keep_few_descriptors(tmp_path: Path) -> None:
    """Have 60 calls run at once, each on a loop of its own with three descriptors; then one asks what is open."""
    (tmp_path / "app.py").write_text(APP)
    get = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with serving("run", f"{tmp_path / 'app.py'}:app", "-m", "thread", "--lifespan", "off") as server:

        def opened() -> int:
            return int(ask(server, get % b"/").rpartition(b"\r\n\r\n")[2])

        before = opened()
        threads = [threading.Thread(target=ask, args=(server, get % b"/wait")) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: opened() <= before + 3 * KEPT_LOOPS, "descriptors to be closed", 10)


def test_without_descriptors_a_call_is_a_503_and_leaves_none_behind(tmp_path: Path) -> None:
    """Have calls find room for no event loop, for a half of one, and for a whole one."""
    (tmp_path / "app.py").write_text(APP)
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    statuses = set()
    target = f"{tmp_path / 'app.py'}:app"
    with serving("run", target, "-m", "thread", "--lifespan", "off", quiet=False) as server:
        (worker,) = server.workers()
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        opened = Path(f"/proc/{worker}/fd")
        ask(server, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n")
        before = wait_for(partial(steady, opened), "the server to rest")
        for room in (1, 2, 0, 1, 2):
            with Client(Wire(server.address)) as client:
                wait_for(lambda: len(list(opened.iterdir())) == before + 1, "the peer to be accepted")
                resource.prlimit(worker, resource.RLIMIT_NOFILE, (before + 1 + room, limits[1]))
                with suppress(Lost):  # it may have to leave for another that could come
                    statuses.add(client.ask(get).status)
                resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
            wait_for(lambda: len(list(opened.iterdir())) == before, "nothing to be left behind")
    assert 503 in statuses
    assert statuses <= {200, 503}
    assert "nothing can catch" not in server.stderr


def steady(folder: Path) -> int:
    """Return the entries of a folder; 0 if they change within 0.3 s."""
    counts = set()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        counts.add(len(list(folder.iterdir())))
    return counts.pop() if len(counts) == 1 else 0


def test_few_loops_are_kept() -> None:
    loops = IdleLoops()
    taken = [loops.acquire() for _ in range(KEPT_LOOPS + 5)]
    for events in taken:
        loops.release(events)
    assert [events.is_closed() for events in taken] == [True] * 5 + [False] * KEPT_LOOPS
    assert loops.acquire() is taken[-1]
    for events in taken:
        events.close()


def test_an_idle_loop_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = IdleLoops()
    first, second = loops.acquire(), loops.acquire()
    loops.release(first)
    monkeypatch.setattr(blocking, "LOOP_IDLE", -1.0)
    loops.release(second)
    assert first.is_closed()


def test_a_loop_is_closed_after_what_is_left_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a task and an asynchronous generator on a loop: both get to clean up."""
    ended: list[str] = []

    async def numbers() -> object:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def wait() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("task")

    async def call() -> None:
        kept.append(asyncio.get_running_loop().create_task(wait()))
        iterator = numbers()
        kept.append(iterator)
        await anext(iterator)  # type: ignore[arg-type]
        await asyncio.sleep(0)

    kept: list[object] = []
    loops = IdleLoops()
    events = loops.acquire()
    events.run_until_complete(call())
    monkeypatch.setattr(blocking, "LOOP_IDLE", -1.0)
    loops.release(events)
    assert events.is_closed()
    assert sorted(ended) == ["generator", "task"]
