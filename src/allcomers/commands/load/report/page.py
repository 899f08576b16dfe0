"""A result as a page: one self-contained file, light and dark, printable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import Final, TextIO

from allcomers.commands import machine
from allcomers.commands.load.data.comparison import Comparison
from allcomers.commands.load.data.histogram import Histogram, highest, lowest
from allcomers.commands.load.data.record import COARSE_SHIFT
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term
from allcomers.commands.load.report import comparing
from allcomers.commands.load.report.figures import Row, Section, headline, sections
from allcomers.server.charts import page
from allcomers.server.charts.chart import Axis, Cell, Lines, Series
from allcomers.server.charts.units import number

_STYLE: Final = """
.tiles { display: grid; gap: .75rem; margin: .75rem 0; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)) }
.tiles b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums }
.tiles span, td.note { color: var(--soft); font-size: .85rem }
.charts table { width: 100% } th, td { text-align: left; padding: .1rem .6rem .1rem 0; vertical-align: top }
th, td.value { white-space: nowrap } th { font-weight: 400 } td.value { text-align: right; font-weight: 600 }
.charts td:has(.bar) { width: 45% }
.bar { background: var(--c3); height: .6rem; margin-top: .45rem; border-radius: .1rem; min-width: 1px }
.warning { border-left: .4rem solid var(--wait); margin: .75rem 0 }
"""

_TILES: Final = ("TPS", "QPS", "p50", "p99", "max", "connections", "failed")


def write(result: Result, slo: Sequence[Term], out: TextIO, comparison: Comparison | None = None) -> None:
    """Write the whole page. All input of the user, the URL above all, is escaped."""
    found = sections(result, slo)
    judged = comparing.sections(comparison)
    charts = (page.figure(chart, name, "wide" if name == "times" else "") for name, chart in _charts(result).items())
    tables = (_panel(section.title, _table(section)) for section in found if section.title not in _ABOVE)
    out.write(
        page.page(
            title=headline(result),
            verdict="".join((*_verdict(found), *map(_judged, judged), *_warnings(result), *_tiles(found))),
            facts=_facts(result),
            body=f'<div class="charts">{"".join(charts)}{"".join(tables)}</div>',
            style=_STYLE,
        )
    )


def _facts(result: Result) -> list[tuple[str, str]]:
    place = result.place
    if not place:
        return []
    used = f"{number(place['busy'])} of {place['cores']} cores meanwhile, the load {number(place['load'])} of them"
    return [("command", place["command"]), *machine.described(place), ("in use", used)]


_ABOVE: Final = ("Not to be trusted", "Service level")


def _verdict(found: Sequence[Section]) -> Iterator[str]:
    """Yield the verdict on the service level, if one was asked for."""
    for section in found:
        if section.title == "Service level":
            missed = [row for row in section.rows if not row.good]
            how = f"The goal is missed: {len(missed)} of {len(section.rows)}" if missed else "The goal is met"
            kind = "bad" if missed else "good"
            yield f'<div class="verdict {kind}">{how}{_table(section)}</div>\n'


def _judged(section: Section) -> str:
    """Return the comparison with an earlier result."""
    kind = "bad" if any(row.good is False for row in section.rows) else "good"
    return f'<div class="verdict {kind}">{escape(section.title)}{_table(section)}</div>\n'


def _warnings(result: Result) -> Iterator[str]:
    for line in result.warnings:
        yield f'<p class="card warning">Not to be trusted: {escape(line)}</p>\n'


def _tiles(found: Sequence[Section]) -> Iterator[str]:
    rows = {row.name: row for section in found for row in section.rows}
    yield '<div class="tiles">\n'
    for name in _TILES:
        if row := rows.get(name):
            value = f'<b class="{_class(row)}">{escape(row.value)}</b>'
            yield f'<div class="card"><span>{escape(name)}</span>{value}</div>\n'
    yield "</div>\n"


def _class(row: Row) -> str:
    return "" if row.good is None else "good" if row.good else "bad"


def _panel(title: str, content: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{content}</section>\n'


def _table(section: Section) -> str:
    return "<table>" + "".join(map(_table_row, section.rows)) + "</table>"


def _table_row(row: Row) -> str:
    return (
        f'<tr><th scope="row">{escape(row.name)}</th><td class="value {_class(row)}">{escape(row.value)}</td>'
        f"<td>{_bar(row)}</td>"
        f'<td class="note">{escape(row.note)}</td></tr>'
    )


def _bar(row: Row) -> str:
    return "" if row.bar < 0 else f'<div class="bar" style="width: {row.bar:.1%}"></div>'


# ---------------------------------------------------------------- charts


_COUNT: Final = Axis()
_RATE: Final = Axis(unit="rate")
_TIME: Final = Axis(title="response time", unit="seconds", log=True)


def _charts(result: Result) -> dict[str, Lines]:
    """Return the charts by name; all over time have one axis, and so one crosshair."""
    found = {}
    time = Axis(title="time", unit="seconds", low=0.0, high=max(result.seconds, 1e-3))
    if result.seconds:
        found["rates"] = _rates(result, time)
        found["connections"] = _connections(result, time)
    if result.response.count:
        found["times"] = _heat(result, time)
        found["percentiles"] = _by_percentile(result)
    return found


def _ends(result: Result) -> list[float]:
    """Return the end of each interval, after the beginning of the first."""
    return list(accumulate((interval.seconds for interval in result.intervals), initial=0.0))


def _steps(result: Result, name: str, values: Sequence[float], colour: int, dashed: bool = False) -> Series:
    """Return a value for each interval, from its beginning to its end."""
    points = list(zip(_ends(result), [*values, *values[-1:]], strict=True)) if values else []
    return Series(name=name, colour=colour, points=points, stepped=True, dashed=dashed)


def _rates(result: Result, time: Axis) -> Lines:
    tps = [interval.answered / max(interval.seconds, 1e-9) for interval in result.intervals]
    qps = [interval.sent / max(interval.seconds, 1e-9) for interval in result.intervals]
    lines = (_steps(result, "QPS: sent", qps, 2, dashed=True), _steps(result, "TPS: answered", tps, 0))
    return Lines(title="QPS and TPS over time", x=time, y=_RATE, series=lines)


def _connections(result: Result, time: Axis) -> Lines:
    counts = [interval.open for interval in result.intervals]
    failed = [interval.failed for interval in result.intervals]
    lines = (_steps(result, "connections open", counts, 0), _steps(result, "requests failed", failed, 1))
    return Lines(title="Connections and failures", x=time, y=_COUNT, series=lines)


def _heat(result: Result, time: Axis) -> Lines:
    """Return a cell for each interval and each 32nd of a doubling: the more responses in it, the darker."""
    ends = _ends(result)
    cells: list[Cell] = []
    middles: list[float] = []
    percentiles: list[Sequence[float]] = []
    for begin, end, interval in zip(ends, ends[1:], result.intervals, strict=False):
        most = max((count for _, count in interval.times), default=0)
        for bucket, count in interval.times:
            low, top = lowest(bucket - (1 << COARSE_SHIFT) + 1) / 1e9, highest(bucket) / 1e9
            if low > 0:
                cells.append(Cell((begin, end), (low, top), count / most))
        if interval.times:
            middles.append((begin + end) / 2)
            percentiles.append(Histogram(interval.times).percentiles(50, 90, 99))
    lines = [
        Series(name=name, colour=colour, points=list(zip(middles, (found[at] for found in percentiles), strict=True)))
        for at, (name, colour) in enumerate((("p50", 3), ("p90", 2), ("p99", 1)))
    ]
    title = "Response times over time: the darker, the more responses"
    return Lines(title=title, x=time, y=_TIME, series=lines, cells=cells)


def _by_percentile(result: Result) -> Lines:
    """Return percentiles as HdrHistogram plots them: each step to the right is a tenth of what is left."""
    nines = max(2, len(str(result.response.count)) - 1)
    steps = [1 - 10 ** (-i / 8) for i in range(8 * nines + 1)]
    at = [1 / (1 - step) for step in steps]
    response = result.response.percentiles(*(100 * step for step in steps))
    service = result.service.percentiles(*(100 * step for step in steps))
    lines = [Series(name="response time", colour=0, points=list(zip(at, response, strict=True)))]
    if service != response:
        points = list(zip(at, service, strict=True))
        lines.append(Series(name="service time", colour=2, points=points, dashed=True))
    x = Axis(title="of all responses", unit="percentile", log=True, low=1.0, high=10.0**nines)
    return Lines(title="Response time by percentile", x=x, y=Axis(title="response time", unit="seconds"), series=lines)
