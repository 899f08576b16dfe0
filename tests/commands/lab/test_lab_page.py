"""The report in a real browser, Debian's Chromium: complete without a network, on a phone, light and dark; and what it
shows is what results.json has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from allcomers.commands.lab.analysis import results, what_if, wording
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.statistics import Interval
from allcomers.commands.lab.data.options import CompareOptions
from allcomers.commands.lab.report import comparison, page
from support import chromium
from support.measured import EPOLL, ITERATIVE, POOL, THREAD, grown, judged, ladder, pooled, step, usl

pytestmark = chromium.NEEDED

GOALS = (0.028, 0.035, 0.1, 1.0, 5.0)
"""Limits to look at: one that threads alone meet, those around the goal, and one that all meet."""


def measured(limit: float) -> Results:
    """Return the results of a lab whose goal was a p99 below `limit`; one of its candidates had a look alone."""
    look = Trial(stage="screen", number=0, candidate=ITERATIVE, steps=(step(64, 90, limit=limit),))
    steps = tuple(step(64, rate, rate=rate, limit=limit, curve=((0.01, 0.5), (0.04, 1.0))) for rate in (1000.0, 2000.0))
    trials = [
        *ladder(EPOLL, pooled(100), limit=limit),
        *ladder(POOL, usl(100, 0.02, 1e-4), noise=0.02, limit=limit),
        *ladder(THREAD, usl(120, 0.05, 1e-5), noise=0.02, seed=2, limit=limit),
        Trial(stage="open", number=0, candidate=POOL, steps=steps),
        look,
    ]
    return judged([grown(trial) for trial in trials], goal=f"p99<{limit * 1000:.0f}ms")


class Report:
    """A report as a file, and the figures beside it."""

    def __init__(self, folder: Path) -> None:
        found = measured(0.1)
        explored = what_if.explore(found)
        self.file = folder / "report.html"
        self.file.write_text(page.page(found, explored))
        self.figures: Any = json.loads(results.as_json(found, [one.as_dict() for one in explored]))
        self.limits = [one["limit"] for one in self.figures["what_if"]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return Report(tmp_path_factory.mktemp("report"))


def opened(browser: Browser, file: Path, width: int, scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True  # type: ignore[arg-type]
    )  # fmt: skip
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    shown.on("requestfailed", lambda request: wrong.append(request.url))
    shown.on("console", lambda said: wrong.append(said.text))
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.goto(file.as_uri())
    assert not wrong
    return shown


@pytest.fixture(scope="module")
def shown(browser: Browser, report: Report) -> Iterator[Page]:
    """The report on a desk, which the tests of what it does share."""
    found = opened(browser, report.file, 1280, "light")
    yield found
    found.context.close()


def set_goal(shown: Page, place: int) -> None:
    shown.locator("#what-if-limit").fill(str(place))


# ------------------------------------------------------------ the slider


@pytest.mark.parametrize("limit", GOALS)
def test_the_slider_says_what_a_lab_with_that_goal_says(shown: Page, report: Report, limit: float) -> None:
    set_goal(shown, report.limits.index(limit))
    chosen = measured(limit).verdict.chosen
    assert chosen is not None
    assert shown.locator("#what-if-run").text_content() == f"Run {chosen.standing.candidate.name}."
    said = shown.locator("#what-if-why").text_content() or ""
    assert said.partition(", within ")[0] == chosen.why.partition(", within ")[0]
    assert shown.locator("#board .recommended").get_attribute("data-name") == chosen.standing.candidate.name


READ_ALL = """
() => {
  const slider = document.getElementById("what-if-limit");
  const rows = [...document.querySelectorAll("#board .candidate")];
  return Array.from({ length: Number(slider.max) + 1 }, (_, place) => {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    return Object.fromEntries(rows.map((row) => [row.dataset.name, row.querySelector(".rate b").textContent]));
  });
}
"""
"""What the board shows for each place of the slider."""


def test_the_board_has_the_figures_of_the_json(shown: Page, report: Report) -> None:
    assert shown.evaluate(READ_ALL) == [
        {name: wording.number(rate) if rate else "missed" for name, rate in goal["capacities"].items()}
        for goal in report.figures["what_if"]
    ]
    cpu = [one["cpu"]["value"] for one in report.figures["standings"]]
    assert shown.locator("#board .cpu b").all_text_contents() == [wording.seconds(one or nan) for one in cpu]


def test_it_starts_at_the_goal_and_says_where_more_may_be_possible(browser: Browser, report: Report) -> None:
    shown = opened(browser, report.file, 1280, "light")
    own = report.limits.index(0.1)
    assert shown.locator("#what-if-limit").input_value() == str(own)
    assert shown.locator("#what-if-goal").text_content() == "100 ms"
    assert shown.locator("#what-if-same").is_visible()
    assert not shown.locator("#what-if-more, #what-if-why").first.is_visible()
    shown.locator("#what-if-limit").press("ArrowRight")
    assert shown.locator("#what-if-slo").text_content() == f"--slo '{report.figures['what_if'][own + 1]['goal']}'"
    assert shown.locator("#what-if-more").is_visible()
    assert shown.locator("#what-if-why").is_visible()
    shown.context.close()


# ------------------------------------------------------------ the charts


def test_all_candidates_are_in_one_chart_each_with_its_figures_under_the_pointer(shown: Page, report: Report) -> None:
    chart = shown.locator("#candidates")
    names = {label.strip(": ") for label in chart.locator(".u-series.line th").all_text_contents()}
    assert names == {one["name"] for one in report.figures["standings"]}
    at = report.limits.index(5.0)
    x = shown.evaluate("limit => charts.made.candidates.u.valToPos(limit, 'x')", 5.0)
    chart.locator(".u-over").hover(position={"x": x, "y": 50})
    read = chart.locator(".u-series.line").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.u-label, .u-value')].map(part => part.textContent))"
    )
    assert {name: rate for name, rate in read if rate != "–"} == {
        name: wording.rate(rate) for name, rate in report.figures["what_if"][at]["capacities"].items() if rate
    }


def test_a_click_on_a_name_hides_its_lines(shown: Page) -> None:
    name = shown.locator("#candidates .u-series.line th").first
    hidden = "() => charts.made.candidates.u.series[1].show"
    name.click()
    assert shown.evaluate(hidden) is False
    name.click()
    assert shown.evaluate(hidden) is True


def test_the_verdict_is_a_picture_to_take_away(shown: Page, tmp_path: Path) -> None:
    for button, begins in (("#verdict-svg", b"<svg "), ("#verdict-png", b"\x89PNG")):
        with shown.expect_download() as download:
            shown.locator(button).click()
        download.value.save_as(tmp_path / "picture")
        assert (tmp_path / "picture").read_bytes().startswith(begins)
        assert download.value.suggested_filename == f"verdict.{button[-3:]}"


def test_two_results_side_by_side(browser: Browser, report: Report, tmp_path: Path) -> None:
    for name, factor in (("a", 1.0), ("b", 1.3)):
        found = judged(ladder(POOL, pooled(2000 * factor), noise=0.01) + ladder(THREAD, pooled(1500), noise=0.01))
        (tmp_path / name).write_text(results.as_json(found))
    comparison.run(CompareOptions(a=tmp_path / "a", b=tmp_path / "b", out=tmp_path))
    kept = json.loads((tmp_path / "comparison.json").read_text())
    shown = opened(browser, tmp_path / "comparison.html", 390, "light")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    assert shown.locator(".verdict").text_content() == kept["sentence"]
    labels = shown.locator("#tps .label").all_text_contents()
    assert labels == [wording.ratio(Interval(**one["tps"])) for one in kept["candidates"]]
    assert shown.locator("tr.faster td").first.text_content() == "epoll + pool of 64"
    shown.context.close()


# ------------------------------------------------------------ windows


@pytest.mark.parametrize(
    ("width", "scheme", "back"), [(390, "light", "rgb(244, 247, 247)"), (1280, "dark", "rgb(13, 22, 29)")]
)
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(
    browser: Browser, report: Report, width: int, scheme: str, back: str
) -> None:
    found = opened(browser, report.file, width, scheme)
    assert found.evaluate("document.documentElement.scrollWidth") <= width
    assert found.evaluate("getComputedStyle(document.body).backgroundColor") == back
    boxes = [box for plot in found.locator("figure.chart").all() if (box := plot.bounding_box())]
    assert len(boxes) == 7
    assert all(box["width"] > 0.4 * min(width, 800) and box["height"] > 40 for box in boxes)
    found.context.close()
