"""The figures in a terminal: a headline, figures, bars of the last seconds, the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from allcomers.commands.load.report.figures import size, span
from allcomers.commands.terminal import Column, line, table

_BARS: Final = " ▁▂▃▄▅▆▇█"

WINDOW: Final = "10"
"""Seconds over which the figures are computed."""

_IN_ROW: Final = 5
"""Figures in a row, at most."""

_APART: Final = 3
_FRAME: Final = 4
"""Columns of the frame of a panel."""

_HEADS: Final = (
    Column("process", left=True), Column("state", left=True), Column("age", 6), Column("users", 2),
    Column("in progress", 5), Column("TPS"), Column("p50", 7), Column("p99", 1), Column("lag", 8), Column("CPU", 3),
    Column("memory", 4),
)  # fmt: skip

_STATES: Final = {
    "serving": "green", "ready": "green", "starting": "yellow", "leaving": "yellow", "draining": "yellow",
    "silent": "bold red",
}  # fmt: skip


def screen(past: Sequence[dict[str, Any]], width: int, trouble: str) -> RenderableType:
    """Return the screen. `past`: all samples, the last included; `trouble`: the reason for no newer one, or ""."""
    stats = past[-1]
    workers = Panel(_workers(stats["workers"], width - _FRAME), title="workers", title_align="left", border_style="dim")
    leave = Text(" q leaves", style="dim")
    return Group(_headline(stats, trouble), _figures(stats, width), _bars(past, width), workers, leave)


def page(stats: dict[str, Any], width: int | None) -> RenderableType:
    """Return the figures of one sample, to print them once, for so many columns; None is room for all."""
    workers = Text.assemble(("\n workers\n", "dim"), _workers(stats["workers"], width and width - 1, indent=" "))
    return Group(_headline(stats, ""), _figures(stats, width), workers)


def _headline(stats: dict[str, Any], trouble: str) -> Text:
    stage = "no worker ready" if stats["stage"] == "serving" and not stats["ready"] else stats["stage"]
    models = sorted({worker["model"] for worker in stats["workers"] if worker["model"]})
    ready = sum(worker["state"] == "ready" for worker in stats["workers"])
    line = Text.assemble(
        (" allcomers ", "bold"),
        (_plain(stage), _STATES.get(stage, "bold red")),
        "  ",
        _plain(" · ".join([", ".join(stats["bind"]), *models, f"{ready} of {stats['wanted']} workers{_range(stats)}"])),
    )
    if told := _reload(stats):
        line.append(f"\n {told}", style="yellow" if stats["reload"]["state"] == "running" else "bold red")
    if trouble:
        line.append(f"\n {trouble}", style="bold red")
    return line


def _range(stats: dict[str, Any]) -> str:
    """Return the bounds of the workers by demand; "" where their number is fixed."""
    return f" ({stats['least']} to {stats['most']} by demand)" if stats.get("most") else ""


def _reload(stats: dict[str, Any]) -> str:
    """Return a line about a reload that is under way, or has failed; "" for none."""
    state, age = stats["reload"]["state"], _age(stats["reload"]["age"])
    if state == "running":
        starts = "; a new worker starts" if any(worker["state"] == "starting" for worker in stats["workers"]) else ""
        return f"reloading for {age}: {stats['reload']['left']} of {stats['wanted']} still to be replaced{starts}"
    reasons = {"given up": "the new worker ended before it served", "refused": "an option is wrong"}
    return f"the reload {age} ago was {state}: {reasons[state]}; the log has more" if state in reasons else ""


def _figures(stats: dict[str, Any], width: int | None) -> Table:
    """Return a grid of the figures, by their names in docs/admin.md, with as many in a row as there is room for."""
    over = stats["windows"][WINDOW]
    failed = float(over["answers"].get("5xx", 0)) + over["aborted"]
    figures = [
        _figure(name, value)
        for name, value in (
            ("TPS", _number(over["tps"])), ("users", f"{stats['users']:,}"), ("p50", _span(over["p50"])),
            ("out", f"{size(over['bytes_out'])}/s"), ("CPU", f"{over['cpu']:.0%}"),
            ("QPS", _number(over["qps"])), ("in progress", f"{stats['in_progress']:,}"), ("p99", _span(over["p99"])),
            ("in", f"{size(over['bytes_in'])}/s"), ("memory", size(stats["memory"])),
            ("failed", _number(failed)), ("queued", f"{stats['queue']:,}"), ("max", _span(over["max"])),
            ("app", _span(over["app"])), ("loops busy", f"{over['busy']:.0%}"),
            ("HTTP/2 users", f"{stats['http2_users']:,}"),
            ("held", size(stats["held"])), ("spooled", size(stats["spool"])),
            ("refused", f"{stats['totals']['held_refused']:,}"), ("cut", f"{stats['totals']['held_cut']:,}"),
        )
    ]  # fmt: skip
    grid = Table.grid(padding=(0, _APART), pad_edge=True)
    for row in _in_rows(figures, width):
        grid.add_row(*row)
    return grid


def _in_rows(figures: Sequence[Text], width: int | None) -> list[Sequence[Text]]:
    """Return the figures in rows, of as many as fit into `width`."""
    rows: list[Sequence[Text]] = []
    for count in range(_IN_ROW, 0, -1):
        rows = [figures[at : at + count] for at in range(0, len(figures), count)]
        wide = (max(map(len, figures[place::count])) for place in range(count))
        if width is None or _APART + sum(cell + _APART for cell in wide) <= width:
            break
    return rows


def _figure(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, "bold red" if name == "failed" and value != "0" else "bold"))


def _bars(past: Sequence[dict[str, Any]], width: int) -> Table:
    """Return the bars of the last seconds, one column each."""
    room = max(10, min(120, width - 26))
    table = Table.grid(padding=(0, 1), pad_edge=True)
    for name, key, style, shown in (("TPS", "tps", "cyan", _number), ("p99", "p99", "magenta", _span)):
        values = [sample["windows"]["1"][key] for sample in past[-room:]]
        most = max(values, default=0.0)
        bars = "".join(_bar(value, most) for value in values)
        table.add_row(Text(name, style="dim"), Text(f"{bars:>{room}}", style=style), Text(f"at most {shown(most)}"))
    return table


def _bar(value: float, most: float) -> str:
    return _BARS[0] if value <= 0 else _BARS[max(1, round(value / most * (len(_BARS) - 1)))]


def _workers(workers: Sequence[dict[str, Any]], width: int | None, indent: str = "") -> Text:
    rows = [
        (
            str(worker["pid"]),
            _plain(worker["state"]),
            _age(worker["age"]),
            f"{worker['users']:,}",
            f"{worker['in_progress']:,}",
            _number(worker["tps"]),
            _span(worker["p50"]),
            _span(worker["p99"]),
            _span(worker["lag"]),
            f"{worker['cpu']:.0%}",
            size(worker["memory"]),
        )
        for worker in workers
    ]
    head, *lines = table(_HEADS, rows, width)
    found = Text.assemble(indent, (line(head), "dim"), no_wrap=True)
    for worker, (process, state, *rest) in zip(workers, lines, strict=True):
        style = _STATES.get(worker["state"], "")
        found.append_text(Text.assemble("\n", indent, process, "  ", (state, style), "  ", line(rest)))
    return found


def _plain(text: str) -> str:
    """Return `text` without characters that control a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _span(seconds: float) -> str:
    return span(seconds) if seconds else "–"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _age(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"
