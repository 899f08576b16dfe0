"""A page of charts in Chromium: crosshair, zoom, legend, themes, a phone; and it writes figures as Python does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from allcomers.server.charts import page
from allcomers.server.charts.chart import Axis, Lines, Row, Rows, Series, as_values
from allcomers.server.charts.picture import ticks
from allcomers.server.charts.units import WRITTEN
from support import chromium

pytestmark = chromium.NEEDED

EVIL = "</script><script>document.title = 'run'</script>"
CLIENTS = Axis(title="clients", log=True)
TIMES = [(1.0, 0.001), (4.0, 0.002), (16.0, 0.009), (64.0, 0.05)]
RATES = [(1.0, 900.0), (4.0, 2000.0), (16.0, 2100.0)]
CHARTS = {
    "times": Lines(
        title=f"Response time {EVIL}",
        x=CLIENTS,
        y=Axis(title="p99", unit="seconds", log=True),
        series=[Series(name="epoll", colour=0, points=TIMES), Series(name="thread", colour=1, points=TIMES[:3])],
    ),
    "rates": Lines(
        title="Rate",
        x=CLIENTS,
        y=Axis(unit="rate"),
        series=[Series(name="epoll", colour=0, points=RATES, fit=RATES), Series(name="thread", colour=1, points=RATES)],
    ),
    "other": Lines(
        title="Over time", x=Axis(title="time", unit="seconds"), y=Axis(),
        series=[Series(name="users", colour=2, points=[(0.0, 1.0), (1.0, 3.0)], stepped=True)],
    ),
    "memory": Rows(
        title="Memory", axis=Axis(title="less is better", unit="bytes", log=True),
        rows=[Row(name="epoll", colour=0, value=9e5, low=8e5, high=1e6, label="900 KB")],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    figures = "".join(page.figure(chart, name) for name, chart in CHARTS.items())
    path = tmp_path_factory.mktemp("charts") / "page.html"
    body = f'<div class="charts">{figures}</div>'
    path.write_text(page.page(title=f"A page {EVIL}", facts=[("command", EVIL)], body=body, scripts=["var more = 1;"]))
    return path


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["light", "dark phone"])
def shown(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Show the page; nothing may be wrong with it, and it asks for nothing."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 1400}, color_scheme=scheme)
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    shown.goto(file.as_uri())
    yield shown
    assert not wrong
    context.close()


def legend(shown: Page, chart: str) -> list[str]:
    return shown.locator(f"#{chart} .u-series:not(.fit) .u-value").all_inner_texts()


def at(shown: Page, chart: str, x: float) -> tuple[float, float]:
    """Return the place on the screen of a value of x in a chart."""
    box = shown.locator(f"#{chart} .u-over").bounding_box()
    assert box
    left = shown.evaluate("([chart, x]) => charts.made[chart].u.valToPos(x, 'x')", [chart, x])
    return box["x"] + left, box["y"] + box["height"] / 2


def test_charts_of_one_axis_have_one_crosshair(shown: Page) -> None:
    shown.mouse.move(*at(shown, "times", 4))
    assert legend(shown, "times") == ["4", "2 ms", "2 ms"]
    assert legend(shown, "rates") == ["4", "2,000/s", "2,000/s"]
    assert legend(shown, "other") == ["–", "–"]


def test_a_drag_zooms_all_charts_of_the_axis_and_a_button_or_a_double_click_resets_them(shown: Page) -> None:
    ends = "(chart) => [charts.made[chart].u.scales.x.min, charts.made[chart].u.scales.x.max]"
    before = [shown.evaluate(ends, chart) for chart in ("times", "rates", "other")]
    for reset in ("#rates figcaption button", "#rates .u-over"):
        shown.mouse.move(*at(shown, "times", 3))
        shown.mouse.down()
        shown.mouse.move(*at(shown, "times", 20), steps=3)
        shown.mouse.up()
        zoomed = [shown.evaluate(ends, chart) for chart in ("times", "rates")]
        assert zoomed[0] == zoomed[1] == pytest.approx([3, 20], rel=0.1)
        assert shown.evaluate(ends, "other") == before[2]
        shown.dblclick(reset) if reset.endswith("over") else shown.click(reset)
        assert [shown.evaluate(ends, chart) for chart in ("times", "rates", "other")] == before
        assert shown.is_hidden("#times figcaption button")


def test_a_name_in_a_legend_hides_its_line_in_all_charts(shown: Page) -> None:
    hidden = (
        "Object.values(charts.made).filter((one) => one.u).map((one) => one.u.series.filter((one) => !one.show).length)"
    )
    assert shown.evaluate(hidden) == [0, 0, 0]
    shown.click("#times .u-series:not(:first-child) th")
    assert shown.evaluate(hidden) == [1, 2, 0]  # with the fit
    shown.locator("#rates .u-series:not(:first-child) th").first.press("Enter")
    assert shown.evaluate(hidden) == [0, 0, 0]


def test_logarithmic_axes_say_so_and_nothing_is_wider_than_the_window(shown: Page) -> None:
    assert "p99 (log)" in shown.inner_text("#times figcaption")
    assert "(log)" not in shown.inner_text("#rates figcaption")
    assert "less is better (log)" in shown.inner_text("#memory")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [figure.bounding_box() for figure in shown.locator("figure").all()]
    assert all(box and box["height"] > 60 for box in boxes)
    assert shown.title().startswith("A page </script>")
    assert shown.evaluate("more") == 1


def test_colours_follow_the_system_and_paper_is_light(shown: Page) -> None:
    pixel = """() => { const {canvas} = charts.made.times.u.ctx;
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height), seen = new Set();
        for (let at = 0; at < data.length; at += 4)
            if (data[at + 3] === 255) seen.add([...data.slice(at, at + 3)].join());
        return [...seen]; }"""
    day, night = "10,122,115", "60,201,186"  # of the first line
    is_dark = shown.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    drawn = shown.evaluate(pixel)
    assert ((night if is_dark else day) in drawn, (day if is_dark else night) in drawn) == (True, False)
    shown.emulate_media(media="print")
    shown.wait_for_function(f"({pixel})().includes('{day}')")


def test_figures_are_written_as_python_writes_them(browser: Browser, file: Path) -> None:
    shown = browser.new_page()
    shown.goto(file.as_uri())
    tiny = [1e-7, 0.000234, 0.0123, 0.999]
    others = [1.0, 1.234, 12.3456, 99.96, 100.0, 123.4, 999.7, 1e3, 1234.5678, 65536.7]
    for unit, write in WRITTEN.items():
        values = [*(tiny if unit != "percentile" else ()), *others, 1.5e6, 2.34e9]
        found = shown.evaluate("([unit, values]) => values.map(charts.format[unit])", [unit, values])
        assert found == [write(value) for value in values]
    ends = [(0.013, 7.0), (1.0, 1024.0), (900.0, 2100.0), (0.2, 1e7)]
    for axis in (Axis(), Axis(log=True), Axis(log=True, unit="percentile")):
        for low, high in ends:
            spec = as_values(Lines(title="", x=axis, y=axis, series=()))["x"]
            found = shown.evaluate("([spec, low, high]) => charts.ticks(spec, low, high, 7)", [spec, low, high])
            assert found == pytest.approx(ticks(axis, low, high, 7))
    shown.close()
