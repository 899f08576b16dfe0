"""The dashboard in Chromium: it shows the figures that a load generator measured, in any light, on any screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def visit(browser: Browser, admin: Admin, wrong: list[str], **context: object) -> Page:
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(20_000)
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
        {"viewport": {"width": 1440, "height": 900}},
        {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
        {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 3, "has_touch": True},
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
    ink, card = page.evaluate("[colours.ink, colours.card]")
    assert (luminance(ink) > luminance(card)) == (context.get("color_scheme") == "dark")
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
        assert page.is_visible("#range")
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
    assert page.is_hidden("#range")
    assert "demand" not in page.inner_text("#what")
