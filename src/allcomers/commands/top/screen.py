"""The figures in a terminal: a headline, figures, columns of the last seconds, the workers or the last errors.

A line is a sequence of spans, (text, Select Graphic Rendition); `command` writes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any, Final, TypeAlias

from allcomers.commands.load.report.figures import size, span
from allcomers.commands.terminal import Column, line, sparkline, table
from allcomers.commands.top.view import HELP, Tab, View

Span: TypeAlias = tuple[str, str]
Line: TypeAlias = Sequence[Span]
Figure: TypeAlias = tuple[str, str]
"""Its name and its value."""

_BOLD, _DIM, _BAD, _GOOD, _WAIT = "1", "2", "1;31", "32", "33"

_IN_ROW: Final = 5
"""Figures in a row, at most."""

_APART: Final = 3
_KEYS: Final = 13
"""Columns of a key and the blank behind it."""

_LOW: Final = 18
"""Rows of a terminal that has room for the last seconds."""

_LEAST: Final = 4
"""Rows for workers that figures leave."""

_HEADS: Final = {
    "pid": Column("process", left=True), "state": Column("state", left=True), "age": Column("age", 6),
    "users": Column("users", 2), "in_progress": Column("in progress", 5), "tps": Column("TPS"), "p50": Column("p50", 7),
    "p99": Column("p99", 1), "lag": Column("lag", 8), "cpu": Column("CPU", 3), "memory": Column("memory", 4),
}  # fmt: skip
"""By a worker's figure."""

_STATES: Final = {
    "serving": _GOOD, "ready": _GOOD, "starting": _WAIT, "leaving": _WAIT, "draining": _WAIT, "silent": _BAD,
}  # fmt: skip


def screen(past: Sequence[dict[str, Any]], view: View, width: int, height: int, trouble: str) -> list[Line]:
    """Return at most `height` lines. `past`: all samples, the last included; `trouble`: the reason for no newer one, or
    ""."""
    stats = past[-1]
    above = _headline(stats, trouble, width)
    if view.tab is Tab.WORKERS:
        bars = list(_bars(past, width)) if height >= _LOW else []
        figures = _figures(stats, view.window, width)
        above += figures[: max(1, height - len(above) - len(bars) - _LEAST - 3)] + bars
    fixed, lines = _body(stats, view, width)
    room = max(1, height - len(above) - len(fixed) - 2)
    seen = view.fit(len(lines), room)
    place = f" {seen.start + 1} to {min(seen.stop, len(lines))} of {len(lines)}" if len(lines) > room else ""
    title: Line = ((f" {view.tab.value}", _BOLD), (place, _DIM))
    return [*above, title, *fixed, *lines[seen], _footer(stats, view)][:height]


def page(stats: dict[str, Any], width: int | None) -> list[Line]:
    """Return the figures of one sample, to print them once, for so many columns; None is room for all."""
    head, *workers = _workers(stats["workers"], View(), width)
    return [
        *_headline(stats, "", width),
        *_figures(stats, View().window, width),
        (),
        ((" workers", _DIM),),
        head,
        *workers,
    ]


def _body(stats: dict[str, Any], view: View, width: int) -> tuple[list[Line], list[Line]]:
    """Return the lines that stay, and those that are scrolled."""
    if view.tab is Tab.WORKERS:
        head, *workers = _workers(stats["workers"], view, width)
        return [head], workers
    if view.tab is Tab.ERRORS:
        return [], list(_errors(stats["errors"], width))
    return [], [spans for key, words in HELP for spans in _help(key, words, width)]


def _help(key: str, words: str, width: int) -> Iterator[Line]:
    first, *more = _wrapped(words, width, "", " " * _KEYS)
    yield (f" {key:{_KEYS - 1}}", _BOLD), (first[0][0][_KEYS:], "")
    yield from more


def _footer(stats: dict[str, Any], view: View) -> Line:
    count = len(stats["errors"])
    errors = f"{count} error{'s' if count > 1 else ''}: e  " if count and view.tab is not Tab.ERRORS else ""
    return ((f" {view.window} s  ", _DIM), (errors, _BAD), ("? keys  q leaves", _DIM))


def _headline(stats: dict[str, Any], trouble: str, width: int | None) -> list[Line]:
    stage = "no worker ready" if stats["stage"] == "serving" and not stats["ready"] else stats["stage"]
    models = sorted({worker["model"] for worker in stats["workers"] if worker["model"]})
    ready = sum(worker["state"] == "ready" for worker in stats["workers"])
    words = " · ".join([", ".join(stats["bind"]), *models, f"{ready} of {stats['wanted']} workers{_range(stats)}"])
    lines: list[Line] = [((" allcomers ", _BOLD), (_plain(stage), _STATES.get(stage, _BAD)), ("  ", ""))]
    if width is None or len(f" allcomers {stage}  {words}") <= width:
        lines = [(*lines[0], (_plain(words), ""))]
    else:
        lines += _wrapped(words, width, "")
    if told := _reload(stats):
        lines += _wrapped(told, width, _WAIT if stats["reload"]["state"] == "running" else _BAD)
    return lines + _wrapped(trouble, width, _BAD)


def _wrapped(words: str, width: int | None, style: str, indent: str = " ") -> list[Line]:
    room = width - len(indent) if width else max(len(words), 1)
    return [((indent + part, style),) for part in wrap(_plain(words), max(room, 1))]


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


def _figures(stats: dict[str, Any], window: str, width: int | None) -> list[Line]:
    """Return the figures, by their names in docs/admin.md, as many in a row as there is room for."""
    over = stats["windows"][window]
    failed = _number(float(over["answers"].get("5xx", 0)) + over["aborted"])
    figures = (
        ("TPS", _number(over["tps"])), ("users", f"{stats['users']:,}"), ("p50", _span(over["p50"])),
        ("out", f"{size(over['bytes_out'])}/s"), ("CPU", f"{over['cpu']:.0%}"),
        ("QPS", _number(over["qps"])), ("in progress", f"{stats['in_progress']:,}"), ("p99", _span(over["p99"])),
        ("in", f"{size(over['bytes_in'])}/s"), ("memory", size(stats["memory"])),
        ("failed", failed), ("queued", f"{stats['queue']:,}"), ("max", _span(over["max"])),
        ("app", _span(over["app"])), ("loops busy", f"{over['busy']:.0%}"),
        ("HTTP/2 users", f"{stats['http2_users']:,}"),
        ("held", size(stats["held"])), ("spooled", size(stats["spool"])),
        ("refused", f"{stats['totals']['held_refused']:,}"), ("cut", f"{stats['totals']['held_cut']:,}"),
    )  # fmt: skip
    rows, wide = _in_rows(figures, width)
    return [[cell for figure, room in zip(row, wide, strict=False) for cell in _cell(*figure, room)] for row in rows]


def _in_rows(
    figures: Sequence[tuple[str, str]], width: int | None
) -> tuple[list[Sequence[tuple[str, str]]], list[int]]:
    """Return the figures in rows, of as many as fit into `width`, and how wide each column is."""
    for count in range(_IN_ROW, 0, -1):
        wide = [max(len(f"{name} {value}") for name, value in figures[place::count]) for place in range(count)]
        if width is None or sum(_APART + cell for cell in wide) <= width or count == 1:
            break
    return [figures[at : at + count] for at in range(0, len(figures), count)], wide


def _cell(name: str, value: str, room: int) -> tuple[Span, ...]:
    style = _BAD if name == "failed" and value != "0" else _BOLD
    return (" " * _APART, ""), (f"{name} ", _DIM), (value, style), (" " * (room - len(f"{name} {value}")), "")


def _bars(past: Sequence[dict[str, Any]], width: int) -> Iterator[Line]:
    """Yield the last seconds, a column each."""
    room = max(10, min(120, width - 26))
    for name, key, style, shown in (("TPS", "tps", "36", _number), ("p99", "p99", "35", _span)):
        values = [sample["windows"]["1"][key] for sample in past[-room:]]
        yield (f" {name} ", _DIM), (f"{sparkline(values):>{room}}", style), (f" at most {shown(max(values))}", "")


def _workers(workers: Sequence[dict[str, Any]], view: View, width: int | None) -> list[Line]:
    """Return the head of the table, and a line for each worker."""
    if view.sort:
        workers = sorted(workers, key=lambda worker: float(worker[view.sort]), reverse=not view.ascending)
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
    mark = "▲" if view.ascending else "▼"
    heads = [replace(head, name=head.name + mark) if figure == view.sort else head for figure, head in _HEADS.items()]
    head, *lines = table(heads, rows, width and width - 1)
    found: list[Line] = [((f" {line(head)}", _DIM),)]
    for worker, (process, state, *rest) in zip(workers, lines, strict=True):
        found.append(((f" {process}  ", ""), (state, _STATES.get(worker["state"], "")), (f"  {line(rest)}", "")))
    return found


def _errors(errors: Sequence[dict[str, Any]], width: int) -> Iterator[Line]:
    """Yield each error, the last first, with its stack."""
    if not errors:
        yield ((" none", _DIM),)
    for error in errors:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(error["time"]))
        often = f", {error['count']:,} times" if error["count"] > 1 else ""
        yield from _wrapped(f"{at} process {error['pid']}{often}", width, _BOLD)
        yield from _wrapped(error["message"], width, _BAD, "   ")
        for text in error["stack"].splitlines():
            indent = " " * (3 + len(text) - len(text.lstrip()))
            yield from _wrapped(text, width, "", indent if len(indent) < width // 2 else "   ")


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
