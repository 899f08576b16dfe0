"""The report in a real browser, Debian's Chromium: complete without a network, on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from allcomers.commands.lab.report import page
from support import chromium
from support.measured import everything

pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page.page(everything()))
    return path


def opened(browser: Browser, file: Path, width: int, scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True  # type: ignore[arg-type]
    )  # fmt: skip
    report = context.new_page()
    wrong: list[str] = []
    report.on("requestfailed", lambda request: wrong.append(request.url))
    report.on("console", lambda said: wrong.append(said.text))
    report.on("pageerror", lambda error: wrong.append(str(error)))
    report.goto(file.as_uri())
    assert not wrong
    return report


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, file: Path, width: int) -> None:
    report = opened(browser, file, width, "light")
    assert report.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [box for plot in report.locator("figure.chart").all() if (box := plot.bounding_box())]
    assert len(boxes) == 8
    assert all(box["width"] > 0.4 * min(width, 800) and box["height"] > 40 for box in boxes)
    report.context.close()


def test_it_has_a_dark_scheme(browser: Browser, file: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        report = opened(browser, file, 1280, scheme)
        colours.append(report.evaluate("getComputedStyle(document.body).backgroundColor"))
        report.context.close()
    assert colours == ["rgb(244, 247, 247)", "rgb(13, 22, 29)"]
