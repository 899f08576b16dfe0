"""The dashboard in Chromium: it shows the figures that a load generator measured, and the past, in any light, on any
screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page

from allcomers.commands.load import Result
from server.admin.test_admin import APP, Admin, children
from support import chromium
from support.harness import ROOT, Server, serving, wait_for
from support.staged import App

pytestmark = chromium.NEEDED

SLEEPS = 16 * [500] + 3 * [800] + [1600]
"""Milliseconds that calls last, in turn: p50, p90 and p99 are apart, and what a busy machine adds is little to each."""

RATE, CLIENTS, SECONDS = 20, 24, 24


@pytest.fixture
def wrong() -> Iterator[list[str]]:
    """Collect the errors of pages; there must be none."""
    found: list[str] = []
    yield found
    assert not found


@pytest.fixture(autouse=True)
def closed(browser: Browser) -> Iterator[None]:
    """Close the pages of a test at its end: each would go on drawing."""
    yield
    for context in browser.contexts:
        context.close()


def visit(browser: Browser, admin: Admin, wrong: list[str], **context: object) -> Page:
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(60_000)
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(origin(admin)) else elsewhere(request.url, wrong))
    page.goto(f"{origin(admin)}/")
    page.wait_for_selector("[data-figure=tps][data-value]")
    return page


def origin(admin: Admin) -> str:
    return f"http://{admin.address[0]}:{admin.address[1]}"


def elsewhere(url: str, wrong: list[str]) -> None:
    if not url.startswith("data:"):
        wrong.append(f"it asks {url}")


def figure(page: Page, name: str) -> float:
    return float(page.get_attribute(f'[data-figure="{name}"]', "data-value") or "nan")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, Admin]]:
    with serving(
        "run", APP, "--admin", "127.0.0.1:0", "--calls", "pool", "--workers", "2", "--hang-timeout", "60"
    ) as server:
        admin = Admin(server)
        wait_for(lambda: admin.status("/health/ready") == 200, "the server to be ready")
        yield server, admin


def test_it_agrees_with_the_load_generator(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str], tmp_path: Path
) -> None:
    (host, port), admin = server[0].address, server[1]
    page = visit(browser, admin, wrong)
    out, urls = tmp_path / "load.json", tmp_path / "urls"
    urls.write_text("".join(f"/sleep/{sleep}\n" for sleep in SLEEPS))
    options = ["--urls", str(urls), "-c", str(CLIENTS), "-r", str(RATE), "-d", str(SECONDS), "-q", "--json", str(out)]
    url = f"http://{host}:{port}/"
    before = admin.stats()["number"]
    with subprocess.Popen([sys.executable, "-m", "allcomers", "load", url, *options], cwd=ROOT) as load:
        try:
            stats = admin.stats_when(lambda stats: stats["windows"]["1"]["tps"] > RATE / 2, "the load to be under way")
            assert stats["number"] > before
            last = stats["number"] + 11  # from then on its window of 10 s has nothing but load
            page.wait_for_function("([last]) => state.sample.number >= last", arg=[last])
            seen = page.evaluate("({...state.sample.windows['10'], users: state.sample.users})")
            shown = {name: figure(page, name) for name in ("tps", "qps", "bytes_in", "bytes_out", "users")}
            times = [figure(page, name) for name in ("p50", "p90", "p99")]
            assert load.wait(SECONDS + 40) == 0
        finally:
            load.kill()
    result = Result.from_json(out.read_text())
    assert result.failed == 0
    assert shown["tps"] == pytest.approx(result.tps, rel=0.05), seen
    assert shown["qps"] == pytest.approx(result.qps, rel=0.05), seen
    assert shown["bytes_out"] == pytest.approx(result.bytes_in_per_second, rel=0.05)
    assert shown["bytes_in"] == pytest.approx(result.bytes_out_per_second, rel=0.05)
    assert shown["users"] == result.connections_held == CLIENTS
    assert times == pytest.approx(result.service.percentiles(50, 90, 99), rel=0.05)
    wait_for(lambda: admin.stats()["totals"]["requests"] == result.sent, "the next look to have them all")


@pytest.mark.parametrize(
    "context",
    [
        {"viewport": {"width": 1280, "height": 900}},
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 740}, "device_scale_factor": 3, "has_touch": True},
    ],
    ids=["light", "dark", "phone"],
)
def test_it_can_be_read(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str], context: dict[str, object]
) -> None:
    page = visit(browser, server[1], wrong, **context)
    assert page.inner_text("#stage") == "serving"
    assert page.locator("#workers tr").count() == 2
    assert page.inner_text("#model") == "epoll"
    wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], "nothing is to be scrolled sideways but the table"
    too_wide = """() => [...document.querySelectorAll('.tile dd, h2, .key')]
        .filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.textContent)"""
    assert page.evaluate(too_wide) == []
    ink, paper = page.evaluate("['--ink', '--paper'].map(charts.css)")
    assert (luminance(ink) > luminance(paper)) == (context.get("color_scheme") == "dark")
    drawn = """() => [...document.querySelectorAll('canvas')].map((canvas) => {
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value) => value > 0); })"""
    page.wait_for_function(f"({drawn})().every(Boolean)")


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_window_is_chosen_by_a_key(browser: Browser, server: tuple[Server, Admin], wrong: list[str]) -> None:
    page = visit(browser, server[1], wrong)
    page.focus('[data-window="60"]')
    page.keyboard.press("Enter")
    assert page.get_attribute('[data-window="60"]', "aria-pressed") == "true"
    assert page.get_attribute('[data-window="10"]', "aria-pressed") == "false"
    assert page.evaluate("state.window") == "60"


def test_it_says_when_nobody_answers_and_goes_on(browser: Browser, server: tuple[Server, Admin]) -> None:
    page = visit(browser, server[1], [])  # the browser itself tells of a connection that broke
    assert page.is_hidden("#lost")
    (process,) = children(*server)
    os.kill(process, signal.SIGSTOP)
    try:
        number = page.evaluate("state.sample.number")
    finally:
        os.kill(process, signal.SIGKILL)
    page.wait_for_selector("#lost:not([hidden])")
    assert "does not respond" in page.inner_text("#lost")
    page.wait_for_selector("#lost", state="hidden")
    page.wait_for_function("([number]) => state.sample.number !== number", arg=[number])


def test_it_tells_how_a_reload_goes(browser: Browser, app: App, wrong: list[str]) -> None:
    """Reload: the figures go on, and nothing about a server that does not respond is shown."""
    with serving("run", app.target, "--admin", "127.0.0.1:0", quiet=False) as server:
        page = visit(browser, Admin(server), wrong)
        assert page.is_hidden("#reload")
        (app.folder / "slow-start").touch()
        server.send(signal.SIGHUP)
        page.wait_for_selector("#reload:not([hidden])")
        page.wait_for_function("document.querySelector('#reload').textContent.includes('a new worker starts')")
        assert "1 of 1 still to be replaced" in page.inner_text("#reload")
        assert page.inner_text("#stage") == "reloading"
        number = page.evaluate("state.sample.number")
        page.wait_for_function("([number]) => state.sample.number > number", arg=[number])
        (app.folder / "slow-start").unlink()
        page.wait_for_selector("#reload", state="hidden")
        (app.folder / "die").touch()
        server.send(signal.SIGHUP)
        page.wait_for_selector("#reload[data-state='given up']")
        assert "was given up" in page.inner_text("#reload")
        assert page.is_hidden("#lost")


def test_it_shows_workers_by_demand(browser: Browser, app: App, wrong: list[str]) -> None:
    with serving("run", app.target, "--workers", "1-3", "--admin", "127.0.0.1:0") as server:
        page = visit(browser, Admin(server), wrong)
        page.wait_for_function("() => document.querySelector('#what').textContent.includes('(1 to 3 by demand)')")
        assert page.inner_text("#scaled") == "1 wanted, 1 to 3 by demand"
        assert page.evaluate("charts.made.work.u.series[3].show")
        server.send(signal.SIGTTIN)
        page.wait_for_function("() => document.querySelector('#scaled').textContent.includes('; one more at ')")
        assert page.inner_text("#scaled").startswith("2 wanted, 1 to 3 by demand")
        assert page.inner_text("#scaled").endswith(": a signal told so")


def test_a_fixed_number_of_workers_has_no_range(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str]
) -> None:
    page = visit(browser, server[1], wrong)
    page.wait_for_function("() => document.querySelector('#what').textContent.includes('2 of 2 workers')")
    assert page.inner_text("#scaled") == ""
    assert not page.evaluate("charts.made.work.u.series[3].show")
    assert "demand" not in page.inner_text("#what")


def test_failures_by_status_are_those_of_the_json(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str]
) -> None:
    (host, port), admin = server[0].address, server[1]
    for _ in range(3):
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://{host}:{port}/status/404", timeout=10)
    totals = admin.stats_when(lambda stats: stats["totals"]["statuses"].get("404") == 3, "the failures")["totals"]
    assert totals["statuses"] == {"404": 3}
    page = visit(browser, admin, wrong)
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#statuses tr").all()]
    assert [[row[0], row[2]] for row in rows] == [["404", "3"]]
    page.wait_for_function("charts.made.failures.columns[2].some((rate) => rate > 0)")


def kinds(stats: dict[str, Any]) -> list[str]:
    return [mark["kind"] for mark in stats.get("marks", ())]


def test_the_past_outlives_reloads_and_the_process_of_the_page(browser: Browser, app: App, wrong: list[str]) -> None:
    with serving("run", app.target, "--admin", "127.0.0.1:0", "--workers", "2", quiet=False) as server:
        admin = Admin(server)
        admin.stats_when(lambda stats: stats["number"] > 2, "some seconds")
        server.send(signal.SIGHUP)
        done = admin.stats_when(lambda stats: stats["reload"]["state"] == "done", "the reload")
        pids = [worker["pid"] for worker in done["workers"] if worker["state"] == "ready"]
        os.kill(pids[0], signal.SIGKILL)
        dead = admin.stats_when(lambda stats: kinds(stats)[-1:] == ["death"], "the death to be marked")
        (process,) = children(server, admin)
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: admin.status("/stats.json") == 200, "another process")
        after = admin.stats_when(lambda stats: stats["number"] > dead["number"], "the number to go on")
        assert kinds(after) == ["reload", "death", "page"]
        page = visit(browser, admin, wrong)
        assert page.evaluate("state.past[0].number") == 1
        assert page.locator("#marks li").all_inner_texts()[1].endswith("a worker died")
        assert page.locator("#requests .event").evaluate_all("marks => marks.map((mark) => mark.dataset.kind)") == [
            "reload", "death", "page",
        ]  # fmt: skip


def test_the_span_is_chosen_and_charts_have_one_crosshair_and_zoom(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str]
) -> None:
    page = visit(browser, server[1], wrong)
    wide = "Object.values(charts.made).map(({u}) => Math.round(u.scales.x.max - u.scales.x.min))"
    for span in (1800, 7200, 300):
        page.click(f'[data-span="{span}"]')
        assert page.evaluate(wide) == 6 * [span]
    page.locator("#requests .u-over").scroll_into_view_if_needed()
    box = page.locator("#requests .u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20, steps=3)
    page.mouse.up()
    assert all(140 < zoomed < 155 for zoomed in page.evaluate(wide))
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 20)
    times = [page.inner_text(f"#{name} .u-value >> nth=0") for name in ("requests", "users", "work")]
    assert len(set(times)) == 1
    assert times[0] != "–"
    number = page.evaluate("state.sample.number")
    page.wait_for_function("([number]) => state.sample.number > number", arg=[number])
    assert all(140 < zoomed < 155 for zoomed in page.evaluate(wide)), "a zoom stays while samples come"
    page.click("#users figcaption button")
    assert page.evaluate(wide) == 6 * [300]


def test_routes_and_errors_are_shown_where_there_are_any(
    browser: Browser, server: tuple[Server, Admin], wrong: list[str]
) -> None:
    page = visit(browser, server[1], wrong)
    assert page.is_hidden("#by-route")
    assert page.is_hidden("#last-errors")
    route = {"route": "/notes/<b>", "count": 1234, "failures": 2, "tps": 5.5, "mean": 0.001, "p50": 0.002, "p99": 0.25}
    error = {"time": 1.8e9, "worker": 1, "pid": 77, "count": 3, "message": "KeyError: '<b>'", "stack": ""}
    shown = """([route, error]) => {  // at once: the next sample has none
        add({...state.sample, routes: [route], errors: [error]});
        const texts = (selector) => [...document.querySelectorAll(selector)].map((part) => part.textContent);
        const hidden = ['by-route', 'last-errors'].map((id) => byId(id).hidden);
        return [texts('#routes td'), texts('#errors summary'), ...hidden]; }"""
    cells = ["/notes/<b>", "1,234", "2", "5.5", "1 ms", "2 ms", "250 ms"]
    routes, errors, *hidden = page.evaluate(shown, [route, error])
    assert routes == cells
    assert [text.endswith("KeyError: '<b>' (3 times), process 77") for text in errors] == [True]
    assert hidden == [False, False]
