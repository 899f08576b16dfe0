"""The report of a load in Chromium: its figures are those of the JSON, the verdict comes first, it asks for nothing."""

from __future__ import annotations

import io
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from allcomers.commands import machine
from allcomers.commands.load import Histogram, Plan, Result
from allcomers.commands.load.data import histogram, slo
from allcomers.commands.load.data.record import COARSE_SHIFT, NOTHING
from allcomers.commands.load.report import page
from allcomers.server.charts.units import WRITTEN
from support import chromium

pytestmark = chromium.NEEDED

TIMES = {0.002: 800, 0.004: 150, 0.05: 50}
"""Responses by their time in seconds."""


def measured() -> Result:
    """Return a result of three seconds."""
    counts = Histogram((histogram.index(int(time * 1e9)), count) for time, count in TIMES.items())
    coarse = tuple(
        (histogram.index(int(time * 1e9)) >> COARSE_SHIFT << COARSE_SHIFT, count) for time, count in TIMES.items()
    )
    one = NOTHING._replace(seconds=1.0, bytes_out=100, bytes_in=900, open=8, times=coarse)
    intervals = tuple(one._replace(sent=300 + at, answered=300 - at, failed=at) for at in range(3))
    return Result(
        plan=asdict(Plan.make(url="http://127.0.0.1:1/?<b>", clients=8, seconds=3.0)), seconds=3.0, interrupted=False,
        sent=903, answered=897, failed=3, in_flight=3, unsent=0, qps=301.0, tps=299.0, bytes_out_per_second=100.0,
        bytes_in_per_second=900.0, errors={"reset": 3}, statuses={200: 897}, connections_asked=8, connections_held=8,
        connections_opened=8, cpu=0.1, response=counts, service=counts, lateness=Histogram(), intervals=intervals,
        place=machine.Meanwhile().place("allcomers load http://127.0.0.1:1/"),
    )  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_its_figures_are_those_of_the_json(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    result, out = measured(), io.StringIO()
    page.write(result, slo.parse("p99<10ms,errors<5%"), out)
    (tmp_path / "load.html").write_text(out.getvalue())
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("console", lambda said: wrong.append(said.text))
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    shown.goto((tmp_path / "load.html").as_uri())

    assert shown.inner_text("header > :nth-child(2)").startswith("The goal is missed: 1 of 2")
    facts = dict(zip(shown.locator("dt").all_inner_texts(), shown.locator("dd").all_inner_texts(), strict=True))
    assert facts["command"] == "allcomers load http://127.0.0.1:1/"
    assert {"date", "host", "CPU", "system", "versions", "in use"} <= set(facts)
    tiles = {
        tile.locator("span").inner_text(): tile.locator("b").inner_text()
        for tile in shown.locator(".tiles .card").all()
    }
    assert (tiles["TPS"], tiles["QPS"], tiles["failed"], tiles["connections"]) == ("299", "301", "3", "8")

    ends = list(accumulate((interval.seconds for interval in result.intervals), initial=0.0))
    assert shown.evaluate("charts.made.rates.columns") == [ends, [300, 301, 302, 302], [300, 299, 298, 298]]
    assert shown.evaluate("charts.made.connections.columns")[1:] == [[8, 8, 8, 8], [0, 1, 2, 2]]
    found = shown.evaluate("charts.made.times.columns.slice(1).map((column) => column[1])")
    assert found == pytest.approx(Histogram(result.intervals[1].times).percentiles(50, 90, 99), rel=1e-4)
    shown.locator("#times .u-over").hover()
    legend = shown.locator("#times .u-value").all_inner_texts()[1:]
    assert legend == [WRITTEN["seconds"](value) for value in found]
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not wrong
    context.close()
