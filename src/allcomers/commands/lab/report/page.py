"""report.html: one self-contained file, with the recommendation, the plots and all figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import isfinite, nan

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Ranked, Rung, Standing
from allcomers.commands.lab.report import plots
from allcomers.commands.lab.report.plots import Axis, Row, Series

_STYLE = """
* { box-sizing: border-box } html { color-scheme: light dark }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
:root { --back: #f5f7fa } @media (prefers-color-scheme: dark) { :root { --back: #090c10 } }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 1.55rem; margin: 0 0 2px; letter-spacing: -.01em } h2 { font-size: 1.1rem; margin: 34px 0 10px }
.soft { color: var(--soft); margin: 0 } code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
.card { background: var(--paper); border: 1px solid var(--rule); border-radius: 12px }
.card { padding: 18px 22px; margin: 14px 0 }
.chosen { border-left: 5px solid var(--c0) } .chosen h2 { margin: 0 0 6px; font-size: 1.35rem }
.chosen pre { margin: 12px 0 0; padding: 10px 14px; border-radius: 8px; background: var(--back); overflow-x: auto }
.numbers { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 12px 0 4px }
.numbers b { display: block; font-size: 1.45rem }
.numbers span { color: var(--soft); font-size: .85rem }
.plots { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)) }
.stack { display: grid; gap: 14px; align-content: start }
.plots svg { width: 100%; height: auto; display: block; border: 1px solid var(--rule); border-radius: 12px }
li { margin: 5px 0 } .know li::marker { content: "!  "; color: var(--c3); font-weight: 700 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .87rem; font-variant-numeric: tabular-nums }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft); font-weight: 600 }
tr.best td { font-weight: 600; color: var(--c0) } tr.left td { color: var(--soft) }
"""

_LOW = ("ratio", "cpu", "memory")

CLIENTS = Axis(name="clients", format=lambda value: f"{value:,.0f}")
RATE = Axis(format=wording.number)
TIME = Axis(name="response time", format=wording.seconds)
PART = Axis(format=lambda value: f"{value:.0%}", parts=True)


def page(results: Results) -> str:
    """Return the whole page."""
    verdict = results.verdict
    plotted = _gallery(pictures(results))
    target = f"<code>{escape(results.target)}</code>"
    parts: tuple[str, ...]
    if results.is_race:
        title = f"{target} under many clients"
        parts = (plotted, _ranking("Each model in turn", verdict.runners_up))
    else:
        title = f"The model for {target}"
        chosen = _chosen(results, verdict.chosen)
        next_, others = "Which comes next", "Why not the others"
        parts = (chosen, _ranking(next_, verdict.runners_up), plotted, _ranking(others, verdict.others))
    return "\n".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>allcomers lab: {escape(results.target)}</title>",
            f"<style>{plots.STYLE}{_STYLE}</style><main>",
            f"<h1>{title}</h1>{_circumstances(results)}",
            *parts,
            _know([*([f"No time for: {results.untried}"] if results.untried.candidates else []), *verdict.cautions]),
            _table(results),
            "</main></html>\n",
        )
    )


def _gallery(plotted: dict[str, str]) -> str:
    """Arrange plots two in a row where there is room; those of rows are low, so three of them stand beside one
    other."""
    low = "".join(svg for name, svg in plotted.items() if name in _LOW)
    high = "".join(svg for name, svg in plotted.items() if name not in _LOW)
    return f'<div class="plots">{high}<div class="stack">{low}</div></div>'


def _circumstances(results: Results) -> str:
    place = results.place
    cores = f"server on core {_cores(place['server_cores'])}, load on core {_cores(place['load_cores'])}"
    text = (
        f"{place['when']} · {place['cpu']} · {cores} · {place['system']} · Python {place['python']} ·"
        f" allcomers {place['allcomers']} ({place['leaf']}) · {wording.many(len(results.trials), 'trial')},"
        f" {wording.many(results.rounds, 'round')}, {results.seconds / 60:.1f} minutes ·"
        f" <code>{escape(results.command)}</code>"
    )
    return f'<p class="soft">{text}</p>'


def _cores(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))


def _chosen(results: Results, ranked: Ranked | None) -> str:
    if ranked is None:
        return f'<section class="card chosen"><h2>{escape(results.nothing)}</h2></section>'
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
        f'<div class="numbers">{shown}</div><pre><code>{escape(command)}</code></pre></section>'
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
    return [one for one in results.standings if one.stage != "screen" and one.rungs][: plots.COLOURS]


def pictures(results: Results) -> dict[str, str]:
    """Return the plots by name."""
    drawn = shown(results)
    found = {
        "response-time": plots.lines(
            "Response time against clients (median)", _series(drawn, lambda rung: rung.p50), CLIENTS, TIME
        ),
        "slowest": plots.lines(
            "The slowest in a hundred (p99) against clients", _series(drawn, lambda rung: rung.p99), CLIENTS, TIME
        ),
        "tps": plots.lines("Responses per second against clients, and the USL", _tps(drawn), CLIENTS, RATE),
        "open": plots.lines(
            "The slowest in a hundred (p99) at a given rate", _opened(drawn),
            Axis(name="requests per second that were due", format=wording.number), TIME,
        ),
        "cdf": plots.lines("Response times at 80 % of the peak", _curves(drawn), TIME, PART),
        "ratio": plots.rows(
            "Responses per second, × the best of the same round, 95 %", _ratios(drawn), _TIMES, mark=1.0
        ),
        "cpu": plots.rows("CPU for each response, 95 %", _cpu(drawn), _SECONDS),
        "memory": plots.rows("Memory for each connection", _memory(drawn), _SIZES),
    }  # fmt: skip
    return {name: svg for name, svg in found.items() if "nothing to show" not in svg}


_SECONDS = Axis(name="less is better", format=wording.seconds)
_SIZES = Axis(name="less is better", format=wording.size)
_TIMES = Axis(name="more is better", format=lambda value: f"{value:.2f}")


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


def _cpu(drawn: Sequence[Standing]) -> list[Row]:
    return [
        Row(
            name=one.candidate.name,
            colour=number,
            value=one.cpu.value,
            low=one.cpu.low,
            high=one.cpu.high,
            label=wording.seconds(one.cpu.value),
        )
        for number, one in enumerate(drawn)
    ]


def _memory(drawn: Sequence[Standing]) -> list[Row]:
    return [
        Row(
            name=one.candidate.name,
            colour=number,
            value=one.memory,
            low=one.memory,
            high=one.memory,
            label=wording.size(one.memory),
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
        f'<h2>All figures</h2><section class="card"><div class="wide"><table><thead><tr>{head}</tr></thead>'
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
