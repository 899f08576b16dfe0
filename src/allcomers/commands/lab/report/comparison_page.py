"""comparison.html: two results side by side, with the ratios of all candidates and their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.comparison import Change, Comparison, Pair
from allcomers.commands.lab.analysis.recorded import Recorded
from allcomers.commands.lab.analysis.statistics import Interval
from allcomers.server.charts import page as pages
from allcomers.server.charts.chart import Axis, Row, Rows

_STYLE: Final = """
main { max-width: 1180px } .card { margin: .9rem 0 } .verdict { border-left: 5px solid var(--serve) }
.verdict p { margin: 0; font-size: 1.15rem }
.scroll table { width: 100%; font-size: .87rem } .scroll th { color: var(--soft); font-weight: 600 }
.scroll th, .scroll td { padding: 6px 10px; text-align: right; white-space: nowrap }
.scroll th, .scroll td { border-bottom: 1px solid var(--rule) }
.scroll th:first-child, .scroll td:first-child { text-align: left }
.faster td { color: var(--serve); font-weight: 600 } .slower td { color: var(--costs); font-weight: 600 }
"""

_KINDS: Final = {Change.FASTER: "faster", Change.SLOWER: "slower"}

_COLOURS: Final = {Change.FASTER: 0, Change.SLOWER: 1}
_OTHER: Final = 7
"""Numbers of the palette: green, red, grey."""


def page(found: Comparison, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return the whole page; `heads` and `cells` are those of the table of all candidates."""
    shown = {
        "tps": _ratios("Requests/s, B over A, 95 %", "more is better", ((pair, pair.tps) for pair in found.pairs)),
        "cpu": _ratios("CPU for each response, B over A, 95 %", "less is better", ((p, p.cpu) for p in found.pairs)),
    }
    charts = "".join(pages.figure(chart, name) for name, chart in shown.items() if not chart.is_empty)
    cautions = "".join(f"<li>{escape(caution)}</li>" for caution in found.cautions)
    know = f'<h2>What to know</h2><section class="card"><ul>{cautions}</ul></section>' if cautions else ""
    return pages.page(
        title=f"{found.a.target}: A and B",
        facts=[(name, described(one)) for name, one in (("A", found.a), ("B", found.b))],
        verdict=f'<section class="card verdict"><p>{escape(found.sentence)}</p></section>',
        body=f'<div class="charts">{charts}</div>{know}{_table(found, heads, cells)}',
        style=_STYLE,
    )


def described(one: Recorded) -> str:
    """Return where and when an experiment was made."""
    known = one.place
    return (
        f"{one.path}: {one.target}, {known['when']}, {known['cpu']}, Python {known['python']}, allcomers"
        f" {known['allcomers']}"
    )


def _ratios(title: str, direction: str, ratios: Iterable[tuple[Pair, Interval]]) -> Rows:
    return Rows(
        title=title,
        axis=Axis(title=direction, unit="times", log=True),
        mark=1.0,
        rows=[
            Row(
                name=pair.candidate.name,
                colour=_COLOURS.get(pair.change, _OTHER),
                value=ratio.value,
                low=ratio.low,
                high=ratio.high,
                label=wording.ratio(ratio),
            )
            for pair, ratio in ratios
            if ratio.count
        ],
    )


def _table(found: Comparison, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [
        f'<tr class="{_KINDS.get(pair.change, "")}">{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>'
        for pair, row in zip(found.pairs, cells, strict=True)
    ]
    return (
        f'<h2>All candidates</h2><section class="card"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )
