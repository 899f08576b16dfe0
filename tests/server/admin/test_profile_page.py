"""The page of stacks and samples in Chromium: it draws where the time goes, in any light, on any screen."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser

from server.admin.test_admin import watched
from server.admin.test_diagnostics import APPS, at_work
from support import chromium

pytestmark = chromium.NEEDED


def test_it_draws_samples_and_shows_stacks(browser: Browser) -> None:
    wrong: list[str] = []
    with watched("--profile", "--calls", "inline", target=f"{APPS}:of_flask") as (server, admin):
        origin = f"http://{admin.address[0]}:{admin.address[1]}"
        page = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark").new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((origin, "data:", "blob:")) else wrong.append(asked.url),
        )
        page.goto(f"{origin}/profile")
        page.evaluate("document.querySelector('#seconds').textContent = '1'")
        with at_work(server):
            page.click("#take")
            page.wait_for_selector("#flame rect")
        drawn = page.eval_on_selector_all("#flame text", "texts => texts.map((text) => text.textContent)")
        assert {"all", "busy", "compute"} <= {text for text in drawn if text in ("all", "busy", "compute")}
        with page.expect_download() as saved:
            page.click("#download")
        file = json.loads(saved.value.path().read_text())
        assert page.evaluate("state.root.weight") == pytest.approx(sum(file["profiles"][0]["weights"]))
        page.fill("#search", "compute")
        assert page.locator("#flame rect.found").count() >= 1
        page.locator("#flame rect.found").first.click()
        assert page.evaluate("state.zoom.name") == "compute"
        page.click("#whole")
        assert page.is_hidden("#whole")
        page.click("#look")
        page.wait_for_selector("#stacks details")
        assert "StackServer" not in page.inner_text("#stacks")  # the thread that looks
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not wrong
