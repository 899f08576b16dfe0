"""All candidates at a glance, in a page: requests/s, CPU and memory side by side, and the slider of other goals."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any, Final

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results, plain
from allcomers.commands.lab.analysis.standing import Standing
from allcomers.commands.lab.analysis.what_if import WhatIf, own_term
from allcomers.server.charts import page as pages
from allcomers.server.charts.chart import Axis, Lines, Series
from allcomers.server.charts.palette import COLOURS

SCRIPT: Final = (Path(__file__).parent / "what_if.js").read_text(encoding="utf-8")
"""Moves what the slider of what_if() is about; it needs the board() and the chart."""

STYLE: Final = """
#what-if input { width: 100%; accent-color: var(--serve); margin: .6rem 0 } #what-if output { color: var(--serve) }
#what-if p { margin: .3rem 0 } #what-if ol { color: var(--soft) }
#board { display: grid; grid-template-columns: max-content repeat(3, minmax(0, 1fr)); gap: .15rem 1.1rem }
#board { font-size: .875rem; font-variant-numeric: tabular-nums }
#board > div { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; align-items: center }
#board .head { color: var(--soft) } #board .left { color: var(--soft) }
#board .candidate:hover { background: var(--back) } #board .recommended { font-weight: 700; color: var(--serve) }
#board span:not(:first-child) { display: grid; grid-template-columns: 1fr 5.2em; gap: .5em; align-items: center }
#board .head span:not(:first-child) { display: block } #board b { font-weight: inherit; text-align: right }
#board i { height: .7rem; border-radius: .2rem; background: var(--serve); transition: width .15s; min-width: 1px }
#board .left i { opacity: .55 } #board .cpu i { background: var(--wait) } #board .memory i { background: var(--c4) }
@media (max-width: 40rem) {
  #board { grid-template-columns: max-content repeat(3, minmax(0, 1fr)); gap: .15rem .6rem; font-size: .75rem }
  #board span:not(:first-child) { grid-template-columns: 1fr; gap: 0 } #board b { text-align: left }
  #board i { height: .25rem; grid-row: 2 } #board .candidate > span:first-child { max-width: 6.5rem }
}
"""


def colour(results: Results, one: Standing) -> int:
    """Return the number of a candidate's colour, the same in all charts; those beyond the palette begin anew."""
    return results.standings.index(one) % COLOURS


def chart(results: Results, explored: Sequence[WhatIf]) -> Lines:
    """Return the chart of all candidates: the requests/s that count, by the goal; dashed are those of one look."""
    capacities = [_capacities(results, one) for one in explored]
    return Lines(
        title="All candidates: requests per second that count, by the goal",
        x=Axis(title="goal: p99 below", unit="seconds", log=True),
        y=Axis(unit="rate"),
        series=[
            Series(
                name=one.candidate.name,
                colour=colour(results, one),
                points=[
                    (goal.limit, rates[place])
                    for goal, rates in zip(explored, capacities, strict=True)
                    if rates[place] > 0
                ],
                stepped=True,
                dashed=one.stage == "screen",
            )
            for place, one in enumerate(results.standings)
        ],
    )


def _capacities(results: Results, goal: WhatIf) -> list[float]:
    """Return the requests/s that count under a goal, of all candidates in the order of the results; else 0."""
    found = {one.candidate: one.capacity.value for one in goal.standings}
    return [value if isfinite(value := found[one.candidate]) else 0.0 for one in results.standings]


def what_if(results: Results, explored: Sequence[WhatIf]) -> str:
    """Return the slider, and what is recommended where it stands, which is the goal that was measured."""
    own = next((place for place, one in enumerate(explored) if one.limit == _own(results)), None)
    start = len(explored) - 1 if own is None else own
    values = {
        "own": own,
        "limits": [one.limit for one in explored],
        "goals": [one.goal for one in explored],
        "rates": [[rate or None for rate in _capacities(results, one)] for one in explored],
        "verdicts": [_words(results, one) for one in explored],
    }
    return (
        '<section class="card" id="what-if"><h2><label for="what-if-limit">What if the goal is p99 &lt; <output'
        ' id="what-if-goal" for="what-if-limit"></output>?</label></h2>'
        f'<input type="range" id="what-if-limit" min="0" max="{len(explored) - 1}" value="{start}">'
        '<p><b id="what-if-run"></b> <span id="what-if-why"></span><span class="soft"'
        ' id="what-if-same" hidden>It is the goal that was measured: the reasons stand above.</span></p>'
        '<ol id="what-if-next"></ol>'
        '<p class="soft" id="what-if-more" hidden>More may be possible: each server had more clients until the measured'
        f' goal, {escape(results.goal)}, was missed. <code id="what-if-slo"></code> measures this one.</p>'
        f'<script type="application/json" id="what-if-data">{pages.as_json(plain(values))}</script></section>'
    )


def _own(results: Results) -> float | None:
    term = own_term(results.goal)
    return term.limit if term else None


def _words(results: Results, one: WhatIf) -> dict[str, Any]:
    chosen = one.verdict.chosen
    return {
        "run": f"Run {chosen.standing.candidate.name}." if chosen else results.nothing(one.goal),
        "why": chosen.why if chosen else "",
        "next": [f"{ranked.standing.candidate.name}: {ranked.why}" for ranked in one.verdict.runners_up],
    }


def board(results: Results) -> str:
    """Return requests/s, CPU and memory of all candidates, side by side."""
    columns = [[_rate(one), one.cpu.value, _memory(one)] for one in results.standings]
    most = [max((row[place] for row in columns if isfinite(row[place])), default=0.0) for place in range(3)]
    heads = ("", "requests/s that count", "CPU a response (less is better)", "memory of the server (less is better)")
    chosen = results.verdict.chosen
    lines = []
    for one, values in zip(results.standings, columns, strict=True):
        name = one.candidate.name
        texts = (_rate_text(one), wording.seconds(values[1]), wording.size(values[2]))
        cells = "".join(
            f'<span class="{kind}"><i style="width: {_part(value, top):.1f}%"></i><b>{escape(text)}</b></span>'
            for kind, value, top, text in zip(("rate", "cpu", "memory"), values, most, texts, strict=True)
        )
        kind = f"candidate{' left' if one.stage == 'screen' else ''}"
        kind += " recommended" if chosen and one is chosen.standing else ""
        lines.append(
            f'<div class="{kind}" data-name="{escape(name)}" title="{escape(_details(one))}">'
            f"<span>{escape(name)}</span>{cells}</div>"
        )
    head = "".join(f"<span>{escape(text)}</span>" for text in heads)
    return (
        '<h2>All candidates</h2><section class="card"><div id="board"><div class="head">'
        f"{head}</div>{''.join(lines)}</div></section>"
    )


def _part(value: float, most: float) -> float:
    return 100 * value / most if isfinite(value) and most else 0.0


def _rate(one: Standing) -> float:
    return one.capacity.value if one.capacity.count else 0.0


def _rate_text(one: Standing) -> str:
    return "missed" if one.missed else "failed" if not one.capacity.count else wording.number(one.capacity.value)


def _memory(one: Standing) -> float:
    """Return bytes of all processes of the server, with as many clients as were best."""
    rung = one.rung(one.clients)
    return rung.memory if rung else 0.0


def _details(one: Standing) -> str:
    """Return what a pointer shows."""
    seen = "one look" if one.stage == "screen" else wording.many(one.capacity.count, "round")
    answered = f"{wording.rate(one.rate)}, {one.missed}" if one.missed else wording.spread(one.capacity)
    return (
        f"{one.candidate.name}: {answered} with {wording.many(one.clients, 'client')}, p99"
        f" {wording.seconds(one.p99(one.clients))}; {seen}"
    )
