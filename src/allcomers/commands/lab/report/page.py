"""report.html: one self-contained file, with the recommendation, the plots and all figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import isfinite, nan

from allcomers.commands import machine
from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Ranked, Rung, Standing
from allcomers.commands.lab.analysis.what_if import WhatIf
from allcomers.commands.lab.report import board, verdict_picture
from allcomers.server.charts import page as pages
from allcomers.server.charts.chart import Axis, Chart, Lines, Row, Rows, Series
from allcomers.server.charts.palette import COLOURS

_STYLE = """
main { max-width: 1180px } header h2 { font-size: 1.1rem } main > h2 { font-size: 1.1rem; margin: 2rem 0 .6rem }
.card { margin: .9rem 0 } .card ol, .card ul { margin: 0; padding-left: 1.4rem }
.chosen { border-left: 5px solid var(--serve) } .chosen h2 { margin: 0 0 6px; font-size: 1.35rem }
.chosen pre { margin: 12px 0 0; padding: 10px 14px; border-radius: 8px; background: var(--back); overflow-x: auto }
.numbers { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 12px 0 4px }
.numbers b { display: block; font-size: 1.45rem } .numbers span { color: var(--soft); font-size: .85rem }
li { margin: 5px 0 } .know li::marker { content: "!  "; color: var(--wait); font-weight: 700 }
.scroll table { width: 100%; font-size: .87rem }
.scroll th, .scroll td { padding: 6px 10px; text-align: right; white-space: nowrap }
.scroll th, .scroll td { border-bottom: 1px solid var(--rule) }
.scroll th:first-child, .scroll td:first-child { text-align: left } .scroll th { color: var(--soft); font-weight: 600 }
tr.best td { font-weight: 600; color: var(--serve) } tr.left td { color: var(--soft) }
"""

CLIENTS = Axis(title="clients", log=True)
RATE = Axis(unit="rate", log=True)
TIME = Axis(title="response time", unit="seconds", log=True)
PART = Axis(unit="share", low=0.0, high=1.0)


def page(results: Results, explored: Sequence[WhatIf] = ()) -> str:
    """Return the whole page; `explored`: the verdicts for other goals."""
    verdict = results.verdict
    plotted = f"{_other_goals(results, explored)}{board.board(results)}{_gallery(charts(results))}"
    parts: tuple[str, ...]
    if results.is_race:
        title, chosen = f"{results.target} under many clients", ""
        parts = (plotted, _ranking("Each model in turn", verdict.runners_up))
    else:
        title, chosen = f"The model for {results.target}", _chosen(results, verdict.chosen)
        next_, others = "Which comes next", "Why not the others"
        parts = (_ranking(next_, verdict.runners_up), plotted, _ranking(others, verdict.others))
    untried = [f"No time for: {results.untried}"] if results.untried.candidates else []
    return pages.page(
        title=title,
        facts=_circumstances(results),
        verdict=chosen,
        body="\n".join((*parts, _know([*untried, *verdict.cautions]), _table(results))),
        scripts=[*([board.SCRIPT] if explored else []), *([verdict_picture.SCRIPT] if chosen else [])],
        style=_STYLE + board.STYLE + verdict_picture.STYLE,
    )


def _other_goals(results: Results, explored: Sequence[WhatIf]) -> str:
    if not explored:
        return ""
    chart = pages.figure(board.chart(results, explored), "candidates", "wide")
    return f'{board.what_if(results, explored)}<div class="charts">{chart}</div>'


def _gallery(shown: Mapping[str, Chart]) -> str:
    return f'<div class="charts">{"".join(pages.figure(chart, name) for name, chart in shown.items())}</div>'


def _circumstances(results: Results) -> list[tuple[str, str]]:
    place = results.place
    return [
        ("command", results.command),
        ("cores", f"server on {_cores(place['server_cores'])}, load on {_cores(place['load_cores'])}"),
        *machine.described(place),
        ("others used", f"{wording.number(results.others)} cores meanwhile"),
        (
            "measured",
            f"{wording.many(len(results.trials), 'trial')}, {wording.many(results.rounds, 'round')},"
            f" {results.seconds / 60:.1f} minutes",
        ),
    ]


def _cores(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))


def _chosen(results: Results, ranked: Ranked | None) -> str:
    if ranked is None:
        return f'<section class="card chosen"><h2>{escape(results.nothing(results.goal))}</h2></section>'
    one = ranked.standing
    numbers = {
        "responses per second": ("≈ " if one.limited else "") + wording.number(one.capacity.value),
        f"p99 with {wording.many(one.clients, 'client')}": wording.seconds(one.p99(one.clients)),
        "CPU for each response": wording.seconds(one.cpu.value),
        "memory for each connection": wording.size(one.memory),
        "clients at the knee": wording.number(one.knee),
    }
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in numbers.items())
    command = " ".join(["allcomers", *results.words, *one.candidate.flags()])
    return (
        f'<section class="card chosen"><h2>Run {escape(one.candidate.name)}</h2><p>{escape(ranked.why)}</p>'
        f'<div class="numbers">{shown}</div><pre><code>{escape(command)}</code></pre>'
        f"{verdict_picture.links(results, ranked)}</section>"
    )


def _ranking(title: str, ranking: Sequence[Ranked]) -> str:
    if not ranking:
        return ""
    items = "".join(
        f"<li><b>{escape(ranked.standing.candidate.name)}</b>: {escape(ranked.why)}</li>" for ranked in ranking
    )
    return f'<h2>{title}</h2><section class="card"><ol>{items}</ol></section>'


def _know(cautions: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(caution)}</li>" for caution in cautions)
    return f'<h2>What to know</h2><section class="card"><ul class="know">{items}</ul></section>' if items else ""


# ------------------------------------------------------------ plots


def shown(results: Results) -> list[Standing]:
    """Return the candidates with a line of their own: all that climbed the ladder, up to the number of colours."""
    return [one for one in results.standings if one.stage != "screen" and one.rungs][:COLOURS]


def charts(results: Results) -> dict[str, Chart]:
    """Return the charts by name."""
    drawn = shown(results)
    due = Axis(title="requests per second that were due", log=True)
    found: dict[str, Chart] = {
        "response-time": Lines(
            title="Response time against clients (median)", x=CLIENTS, y=TIME,
            series=_series(drawn, lambda rung: rung.p50),
        ),
        "slowest": Lines(
            title="The slowest in a hundred (p99) against clients", x=CLIENTS, y=TIME,
            series=_series(drawn, lambda rung: rung.p99),
        ),
        "tps": Lines(title="Responses per second against clients, and the USL", x=CLIENTS, y=RATE, series=_tps(drawn)),
        "open": Lines(
            title="The slowest in a hundred (p99) at a given rate", x=due, y=TIME, series=_opened(drawn)
        ),
        "cdf": Lines(title="Response times at 80 % of the peak", x=TIME, y=PART, series=_curves(drawn)),
        "ratio": Rows(
            title="Responses per second, × the best of the same round, 95 %", axis=_TIMES, rows=_ratios(drawn), mark=1.0
        ),
    }  # fmt: skip
    return {name: chart for name, chart in found.items() if not chart.is_empty}


_TIMES = Axis(title="more is better", unit="times", log=True)


def _series(drawn: Sequence[Standing], value: Callable[[Rung], float]) -> list[Series]:
    return [
        Series(
            name=one.candidate.name,
            colour=number,
            points=[(rung.clients, value(rung)) for rung in one.rungs if isfinite(value(rung))],
        )
        for number, one in enumerate(drawn)
    ]


def _tps(drawn: Sequence[Standing]) -> list[Series]:
    return [
        Series(
            name=one.candidate.name,
            colour=number,
            points=[(rung.clients, rung.tps.value) for rung in one.rungs if rung.tps.value > 0],
            fit=_fit(one),
        )
        for number, one in enumerate(drawn)
    ]


def _fit(one: Standing) -> list[tuple[float, float]]:
    """Return the law's curve over the measured range, if it holds."""
    if one.law is None or not one.law.holds:
        return []
    most = one.rungs[-1].clients
    clients = [most ** (step / 40) for step in range(41)]
    return [(count, value) for count in clients if (value := one.law.at(count)) > 0]


def _opened(drawn: Sequence[Standing]) -> list[Series]:
    return [
        Series(
            name=one.candidate.name,
            colour=number,
            points=[(rung.rate, rung.p99) for rung in one.open_rungs if isfinite(rung.p99)],
        )
        for number, one in enumerate(drawn)
        if one.open_rungs
    ]


def _curves(drawn: Sequence[Standing]) -> list[Series]:
    return [
        Series(name=one.candidate.name, colour=number, points=one.curve)
        for number, one in enumerate(drawn)
        if one.curve
    ]


def _ratios(drawn: Sequence[Standing]) -> list[Row]:
    return [
        Row(
            name=one.candidate.name,
            colour=number,
            value=one.to_best.value,
            low=one.to_best.low,
            high=one.to_best.high,
            label=wording.to_best(one.to_best, is_best=one.is_best, tied=one.tied, missed=one.missed),
        )
        for number, one in enumerate(drawn)
    ]


# ------------------------------------------------------------ the table

_HEAD = (
    "", "requests/s", "× best", "clients", "p50", "p99", "p99.9", "throughput",
    "CPU/request", "memory/connection", "switches/request",
    "threads",     "knee N*", "in the open loop", "steadiness", "errors",
)  # fmt: skip


def _table(results: Results) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEAD)
    chosen = results.verdict.chosen
    lines = []
    for one in results.standings:
        kind = "best" if chosen and one is chosen.standing else "left" if one.stage == "screen" else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in _cells(one))
        lines.append(f'<tr class="{kind}">{cells}</tr>')
    return (
        f'<h2>All figures</h2><section class="card"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="soft">Within {escape(results.goal)}.'
        " Grey: the first look alone.</p></section>"
    )


def _answered(one: Standing) -> str:
    """Return the requests/s; those of a candidate that missed the goal with what it missed."""
    if one.missed:
        return f"{wording.rate(one.rate)}, {one.missed}"
    if one.capacity.count:
        return ("≈ " if one.limited else "") + wording.spread(one.capacity)
    return one.failure or "–"


def _cells(one: Standing) -> tuple[str, ...]:
    best = one.rung(one.clients)
    return (
        one.candidate.name,
        _answered(one),
        wording.to_best(one.to_best, is_best=one.is_best, tied=one.tied, missed=one.missed),
        f"{one.clients:,}" if one.clients else "–",
        *(wording.seconds(value) for value in ((best.p50, best.p99, best.p999) if best else (nan, nan, nan))),
        f"{wording.size(best.traffic)}/s" if best else "–",
        wording.seconds(one.cpu.value),
        wording.size(one.memory),
        wording.number(one.switches),
        f"{one.threads:,}",
        wording.number(one.knee),
        wording.rate(one.sustained) if one.sustained else "missed" if one.open_rungs else "–",
        one.steadiness.course.value,
        ", ".join(f"{kind} {count:,}" for kind, count in one.errors) or "none",
    )
