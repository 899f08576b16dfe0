"""Counts by route, the last errors, stacks and samples: what --by-route and --profile show of a real server."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from allcomers.config.options import make
from allcomers.errors import ConfigError
from allcomers.server.diagnostics import stacks
from allcomers.system.diagnostics.error_board import ENTRIES, MOST, ErrorBoard
from allcomers.system.diagnostics.route_board import OTHERS, ROUTES, RouteBoard, RouteCounts
from server.admin.test_admin import Admin, watched
from support.harness import ROOT, Server, serving, wait_for
from support.staged import App

APPS = f"{ROOT}/tests/support/apps/routed_apps.py"


def get(server: Server, *paths: str) -> list[int]:
    """Return the status of each response, on one connection."""
    connection = http.client.HTTPConnection(*server.address, timeout=40)
    found = []
    for path in paths:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        found.append(answer.status)
    connection.close()
    return found


@contextmanager
def at_work(server: Server) -> Iterator[None]:
    """Have a call compute the whole time."""
    over, found = Event(), set()

    def ask() -> None:
        while not over.is_set():
            found.update(get(server, "/busy"))

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert found == {200}


def counts(admin: Admin, number: int) -> dict[str, tuple[int, int]]:
    """Return {route: (count, failures)} once so many requests are counted."""
    stats = admin.stats_when(lambda stats: sum(each["count"] for each in stats["routes"]) >= number, "the routes")
    return {each["route"]: (each["count"], each["failures"]) for each in stats["routes"]}


# ------------------------------------------------------------ by route


def test_each_framework_tells_its_template() -> None:
    with watched("--by-route", "--lifespan", "off", target=f"{APPS}:joined") as (server, admin):
        parts = ("", "/flask", "/bottle", "/django", "/fastapi", "/starlette/api", "/django-asgi")
        paths = [f"{part}/users/{number}/" for part in parts for number in (1, 2)] + ["/later/1/", "/later/2/"]
        assert set(get(server, *paths, "/flask/none")) == {200, 404}
        assert counts(admin, len(paths) + 1) == {
            "/users/{id:int}/": (2, 0),
            "/later/{id:int}/": (2, 0),
            "/flask/users/<int:number>/": (2, 0),
            "/bottle/users/<number:int>/": (2, 0),
            "/django/users/<int:number>/": (2, 0),
            "/fastapi/users/{number}/": (2, 0),
            "/starlette/api/users/{number}/": (2, 0),
            "/django-asgi/users/<int:number>/": (2, 0),
            "(not found)": (1, 0),
        }


@pytest.mark.parametrize(
    ("model", "app", "template", "build"),
    [
        ("epoll", "of_flask", "/users/<int:number>/", ""),
        ("thread", "of_fastapi", "/users/{number}/", ""),
        ("process", "of_flask", "/users/<int:number>/", "1"),
        ("asyncio", "of_fastapi", "/users/{number}/", "1"),
    ],
)
def test_an_app_alone_is_counted_in_the_page_and_for_prometheus(
    model: str, app: str, template: str, build: str
) -> None:
    options = ("--by-route", "--model", model)
    with watched(*options, target=f"{APPS}:{app}", env={"ALLCOMERS_PURE": build}) as (server, admin):
        get(server, "/users/1/", "/users/2/", "/x/y")
        assert counts(admin, 3) == {template: (2, 0), "(not found)": (1, 0)}
        text = admin.ask("/metrics")[1].decode()
        assert f'allcomers_route_answers_total{{route="{template}",status="2xx"}} 2.0' in text
        assert f'allcomers_route_seconds_count{{route="{template}"}} 2.0' in text
        assert f'allcomers_route_seconds_bucket{{route="{template}",le="+Inf"}} 2.0' in text


def test_at_most_so_many_routes_are_told_apart() -> None:
    board = RouteBoard()
    counted = RouteCounts(board, 1)
    for number in range(ROUTES + 10):
        counted.answered(f"/{number}", 500 if number == 3 else 200, 0.01)
    RouteCounts(board, 1).answered("/3", 200, 0.01)  # the next worker in its place goes on
    found = {name: sum(row[9:15]) for name, row in board.named_rows(1)}
    assert len(found) == ROUTES + 1
    assert found["/3"] == 2
    assert found[OTHERS] == 10


# ------------------------------------------------------------ errors


def test_the_last_errors_are_shown_with_their_stacks() -> None:
    with watched(target=f"{APPS}:of_flask", quiet=False) as (server, admin):
        assert get(server, "/fail?key=secret", "/fail", "/fail") == [500] * 3
        (error,) = admin.stats_when(lambda stats: stats["errors"] and stats["errors"][0]["count"] == 3, "it")["errors"]
        assert error["message"] == "Exception on /fail [GET]"
        assert 'raise ValueError(f"it failed' in error["stack"]
        assert error["stack"].endswith("ValueError: it failed after 21\\x1b[31m")
        assert "a value of a variable\n" not in error["stack"].replace('private = "a value of a variable"', "")
        assert abs(error["time"] - time.time()) < 60
        (worker,) = admin.stats()["workers"]
        assert (error["worker"], error["pid"]) == (1, worker["pid"])
        os.kill(worker["pid"], signal.SIGKILL)
        after = admin.stats_when(lambda stats: len(stats["errors"]) > 0, "the errors of a worker that has died")
        assert after["errors"][-1]["message"] == error["message"]


def test_an_admin_that_others_can_reach_shows_no_errors() -> None:
    options = ("--admin", "0.0.0.0:0", "--admin-hosts", "ip")
    with serving("run", f"{APPS}:of_flask", *options, quiet=False) as server:
        admin = Admin(server)
        assert get(server, "/fail") == [500]
        stats = admin.stats_when(lambda stats: stats["totals"]["answered"] == 1, "the response to be counted")
        assert stats["errors"] == []


def test_errors_are_few_and_short_and_those_that_are_alike_are_one() -> None:
    board = ErrorBoard()
    for number in range(1, ENTRIES + 3):
        board.add(1, number, 7, f"error {number}\n" + "x" * 10_000)
    assert board.count(1, ENTRIES, 8)
    assert not board.count(1, 1, 8)  # it gave way
    first, *others = board.entries(1)
    assert (first.number, first.pid, first.text.partition("\n")[0]) == (2, 8, f"error {ENTRIES}")
    assert len(others) == ENTRIES - 1
    assert all(len(entry.text) == MOST for entry in (first, *others))


# ------------------------------------------------------------ stacks and samples


@pytest.fixture(scope="module")
def profiled() -> Iterator[tuple[Server, Admin]]:
    options = ("--profile", "--workers", "2", "--calls", "inline")
    with watched(*options, target=f"{APPS}:of_flask", quiet=False) as found:
        yield found


def test_stacks_of_all_threads_now(profiled: tuple[Server, Admin]) -> None:
    server, admin = profiled

    def busy() -> list[Any]:
        found = json.loads(admin.ask("/stacks.json")[1])["workers"]
        assert [each["place"] for each in found] == [1, 2]
        stacks = [thread["stack"] for worker in found for thread in worker["answer"]]
        return [stack for stack in stacks if any(call[0] == "compute" for call in stack)]

    with at_work(server):
        stack = wait_for(busy, "a call to be seen at work")[0]
    names = [call[0] for call in stack]
    assert names.index("busy") + 1 == names.index("compute")
    _, file, line, source = stack[names.index("compute")]
    assert file == APPS
    assert source in Path(APPS).read_text().splitlines()[line - 1]


def test_samples_are_a_file_for_speedscope(profiled: tuple[Server, Admin]) -> None:
    server, admin = profiled
    with at_work(server):
        status, body, fields = admin.ask("/profile.json?seconds=1")
    assert status == 200
    assert re.search(r'filename="allcomers-\S+\.speedscope\.json"', fields["Content-Disposition"])
    file = json.loads(body)
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames, busiest = file["shared"]["frames"], file["profiles"][0]  # the thread that used most CPU time comes first
    assert {profile["type"] for profile in file["profiles"]} == {"sampled"}
    assert all(len(profile["samples"]) == len(profile["weights"]) for profile in file["profiles"])
    names = {frames[number]["name"] for stack in busiest["samples"] for number in stack}
    assert {"busy", "compute"} <= names
    assert busiest["endValue"] == pytest.approx(sum(busiest["weights"]))
    assert 0.5 < busiest["endValue"] < 20
    assert admin.status("/profile.json?seconds=0") == 400
    assert admin.status("/profile.json?seconds=61") == 400
    assert admin.ask("/stacks.json", Sec_Fetch_Site="cross-site")[0] == 403


def test_a_worker_that_hangs_in_python_shows_where(app: App) -> None:
    app.write("one")
    with watched("--profile", "--calls", "inline", target=app.target) as (server, admin), server.connect() as sock:
        sock.sendall(b"GET /wait?x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        app.await_begun("x")
        (worker,) = json.loads(admin.ask("/stacks.json")[1])["workers"]
        assert any(call[0] == "App.get" for thread in worker["answer"] for call in thread["stack"])
        app.open_gate()
        assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_the_tasks_of_an_async_app_have_stacks() -> None:
    import asyncio

    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    async def look() -> list[dict[str, Any]]:
        task = asyncio.create_task(outer(), name="waits")
        await asyncio.sleep(0)
        found = await asyncio.to_thread(stacks.now, asyncio.get_running_loop())
        task.cancel()
        return found

    (task,) = (each for each in asyncio.run(look()) if each["name"] == "waits")
    assert task["kind"] == "task"
    assert [call[0].rpartition(".")[2] for call in task["stack"]][:2] == ["outer", "inner"]


def test_the_greenlets_have_stacks() -> None:
    greenlet = pytest.importorskip("greenlet")

    def waits() -> None:
        greenlet.getcurrent().parent.switch()

    green = greenlet.greenlet(waits)
    green.switch()
    found = [each for each in stacks.now(None) if each["kind"] == "greenlet"]
    assert any(each["stack"][-1][0].endswith("waits") for each in found)
    green.switch()


def test_without_the_options_nothing_of_it_is_there() -> None:
    with watched(target=f"{APPS}:of_flask") as (_, admin):
        assert admin.status("/stacks.json") == admin.status("/profile.json") == admin.status("/profile") == 404
        stats = admin.stats()
        assert (stats["routes"], stats["profile"], stats["by_route"]) == ([], False, False)
        assert "route_" not in admin.ask("/metrics")[1].decode()


@pytest.mark.parametrize(
    "given",
    [{"profile": "true"}, {"by_route": "true"}, {"profile": "true", "admin": "0.0.0.0:9", "admin_hosts": "ip"}],
)
def test_they_need_an_admin_and_stacks_one_of_this_machine(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"--profile"):
        make(given)
    make({"profile": "true", "by_route": "true", "admin": "[::1]:9"})
    make({"profile": "true", "admin": "unix:/run/admin"})
