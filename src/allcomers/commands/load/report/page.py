"""A result as a page: one self-contained file, light and dark, printable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import Final, TextIO

import allcomers
from allcomers.commands.load.data.histogram import Histogram, highest, lowest
from allcomers.commands.load.data.record import COARSE_SHIFT
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term
from allcomers.commands.load.report.figures import Row, Section, headline, sections, span
from allcomers.commands.load.report.plots import Plot, Points, linear, logarithmic

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --paper: #fff; --panel: #f5f7fa; --line: #dbe1e8;
  --blue: #1f6feb; --orange: #d9730d; --red: #cf222e; --green: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #97a3b2; --paper: #10151c; --panel: #19212b;
  --line: #303b48; --blue: #58a6ff; --orange: #f0a45d; --red: #ff7b72; --green: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 86rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.25rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: .95rem; margin: 0 0 .5rem; color: var(--soft); font-weight: 600; }
.tiles, .panels { display: grid; gap: 1rem; margin: 1rem 0; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.panels { grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.tile, .panel { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tile span, .note, footer { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .1rem .6rem .1rem 0; font-weight: normal; vertical-align: top; }
td.value { text-align: right; font-weight: 600; white-space: nowrap; }
.bar { background: var(--blue); height: .6rem; margin-top: .45rem; border-radius: .1rem; min-width: 1px; }
.bad { color: var(--red); } .good { color: var(--green); }
.warning { border-left: 4px solid var(--orange); }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
"""

_TILES: Final = ("TPS", "QPS", "p50", "p99", "max", "connections", "failed")


def write(result: Result, slo: Sequence[Term], out: TextIO) -> None:
    """Write the whole page. All input of the user, the URL above all, is escaped."""
    found = sections(result, slo)
    title = escape(headline(result))
    out.write(f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n')
    out.write(
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
    )
    out.write(f"<body>\n<h1>{title}</h1>\n")
    out.writelines(_warnings(result))
    out.writelines(_tiles(found))
    out.write('<div class="panels">\n')
    out.writelines(_panel(plot.name, plot.svg()) for plot in _plots(result))
    out.writelines(_panel(section.title, _table(section)) for section in found if section.title != "Not to be trusted")
    out.write(f"</div>\n<footer>allcomers load {escape(allcomers.__version__)}</footer>\n</body>\n</html>\n")


def _warnings(result: Result) -> Iterator[str]:
    for line in result.warnings:
        yield f'<p class="panel warning">Not to be trusted: {escape(line)}</p>\n'


def _tiles(found: Sequence[Section]) -> Iterator[str]:
    rows = {row.name: row for section in found for row in section.rows}
    yield '<div class="tiles">\n'
    for name in _TILES:
        if row := rows.get(name):
            value = f'<b class="{_class(row)}">{escape(row.value)}</b>'
            yield f'<div class="tile"><span>{escape(name)}</span>{value}</div>\n'
    yield "</div>\n"


def _class(row: Row) -> str:
    return "" if row.good is None else "good" if row.good else "bad"


def _panel(title: str, content: str) -> str:
    return f'<section class="panel"><h2>{escape(title)}</h2>{content}</section>\n'


def _table(section: Section) -> str:
    return "<table>" + "".join(map(_table_row, section.rows)) + "</table>"


def _table_row(row: Row) -> str:
    return (
        f'<tr><th scope="row">{escape(row.name)}</th><td class="value {_class(row)}">{escape(row.value)}</td>'
        f"<td>{_bar(row)}</td>"
        f'<td class="note">{escape(row.note)}</td></tr>'
    )


def _bar(row: Row) -> str:
    return "" if row.bar < 0 else f'<div class="bar" style="width: {row.bar * 10:.2f}rem"></div>'


# ---------------------------------------------------------------- plots


def _plots(result: Result) -> Iterator[Plot]:
    if result.seconds:
        yield _rates(result)
        yield _connections(result)
    if result.response.count:
        yield _heat(result)
        yield _by_percentile(result)


def _steps(result: Result, values: Sequence[float]) -> Points:
    """Return a value for each interval, from its beginning to its end."""
    ends = list(accumulate((interval.seconds for interval in result.intervals), initial=0.0))
    return [point for begin, end, y in zip(ends, ends[1:], values, strict=False) for point in ((begin, y), (end, y))]


def _rates(result: Result) -> Plot:
    tps = [interval.answered / max(interval.seconds, 1e-9) for interval in result.intervals]
    qps = [interval.sent / max(interval.seconds, 1e-9) for interval in result.intervals]
    plot = Plot(
        linear(result.seconds, "seconds", exact=True),
        linear(max(*tps, *qps, 1.0), "per second"),
        "QPS and TPS over time",
    )
    plot.line(_steps(result, qps), "orange", "QPS: sent", dashed=True)
    plot.line(_steps(result, tps), "blue", "TPS: answered")
    return plot


def _connections(result: Result) -> Plot:
    counts = [interval.open for interval in result.intervals]
    failed = [interval.failed for interval in result.intervals]
    plot = Plot(
        linear(result.seconds, "seconds", exact=True), linear(max(*counts, *failed, 1), ""), "Connections and failures"
    )
    plot.line(_steps(result, counts), "blue", "connections open")
    plot.line(_steps(result, failed), "red", "requests failed")
    return plot


def _heat(result: Result) -> Plot:
    """Plot a box for each interval and each 32nd of a doubling: the more responses in it, the darker."""
    high = max(result.response.max, 1e-6)
    plot = Plot(
        linear(result.seconds, "seconds", exact=True),
        logarithmic(max(result.response.min, 1e-6), high, "response time", span),
        "Response times over time: how many, and p50 and p99",
    )
    begin = 0.0
    medians, tails = [], []
    for interval in result.intervals:
        end = begin + interval.seconds
        most = max((count for _, count in interval.times), default=0)
        for bucket, count in interval.times:
            low, top = lowest(bucket - (1 << COARSE_SHIFT) + 1) / 1e9, highest(bucket) / 1e9
            if low > 0:
                plot.box((begin, end), (low, top), "blue", 0.12 + 0.88 * count / most, f"{span(top)}: {count:,}")
        if interval.times:
            median, tail = Histogram(interval.times).percentiles(50, 99)
            medians.append(((begin + end) / 2, median))
            tails.append(((begin + end) / 2, tail))
        begin = end
    plot.line(medians, "green", "p50")
    plot.line(tails, "red", "p99")
    return plot


def _by_percentile(result: Result) -> Plot:
    """Plot percentiles as HdrHistogram does: each step to the right is a tenth of what is left."""
    nines = max(2, len(str(result.response.count)) - 1)
    steps = [1 - 10 ** (-i / 8) for i in range(8 * nines + 1)]
    x = logarithmic(1, 10.0**nines, "of all responses", lambda beyond: f"{100 - 100 / beyond:.6g} %")
    response = result.response.percentiles(*(100 * step for step in steps))
    service = result.service.percentiles(*(100 * step for step in steps))
    plot = Plot(x, linear(max(response) * 1000, "ms"), "Response time by percentile")
    at = [1 / (1 - step) for step in steps]
    if service != response:
        plot.line([(x, y * 1000) for x, y in zip(at, service, strict=True)], "orange", "service time", dashed=True)
    plot.line([(x, y * 1000) for x, y in zip(at, response, strict=True)], "blue", "response time")
    return plot
