"""A result in the terminal, and the progress of a load."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import Final, Self, TextIO

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.report.figures import Section
from allcomers.commands.load.run.processes import Progress
from allcomers.commands.terminal import StatusLine, bar, columns, paragraph
from allcomers.server.logs import colours

_METER: Final = 16
_BAR: Final = 32
_SHORTEST: Final = 8
"""Columns of a bar, at most and at least: below that there are none."""

_NARROW: Final = 20
"""Columns that a note needs beside its figure."""

_GAP: Final = "  "
_BOLD, _DIM, _CYAN, _TITLE = "1", "2", "36", "1;36"
_STYLES: Final = {None: "", True: "32", False: "33"}
"""Select Graphic Rendition (ECMA-48, 8.3.117): green is good, yellow is not."""


def show(headline: str, sections: Sequence[Section], out: TextIO) -> None:
    """Write the table of a result: in colour on a terminal, unless NO_COLOR is set."""
    out.write(text(headline, sections, columns(out), out.isatty() and colours.wanted(out.fileno())))


def text(headline: str, sections: Sequence[Section], width: int | None = None, coloured: bool = False) -> str:
    """Return the table for so many columns; None is room for all. No figure is ever cut: bars get shorter, or leave,
    and notes go on in the next line."""
    lines = [_painted(paragraph(headline, width), _BOLD, coloured)]
    for section in sections:
        lines += ["", _painted(section.title, _TITLE, coloured), *_rows(section, width, coloured)]
    return "\n".join(lines) + "\n"


def _rows(section: Section, width: int | None, coloured: bool) -> Iterator[str]:
    names = max(len(row.name) for row in section.rows)
    values = max(len(row.value) for row in section.rows)
    start = len(_GAP) + names + len(_GAP)
    if width and start + values > width:  # sentences
        for row in section.rows:
            words = _indented(row.value, start, width).lstrip(" ")
            yield f"{_GAP}{row.name:>{names}}{_GAP}{_painted(words, _STYLES[row.good], coloured)}"
        return
    notes = max(len(row.note) for row in section.rows)
    room = _BAR if width is None else min(_BAR, width - start - values - 2 * len(_GAP) - notes)
    for row in section.rows:
        mark = "" if row.bar < 0 or room < _SHORTEST else f"{bar(row.bar, room):{room}}"
        at = start + values + 2 * len(_GAP) + len(mark)
        value = _painted(f"{row.value:>{values}}", _STYLES[row.good] or _BOLD, coloured)
        figures = f"{_GAP}{row.name:>{names}}{_GAP}{value}{_GAP}{_painted(mark, _CYAN, coloured)}{_GAP}"
        style = _STYLES[row.good] or _DIM
        if width is None or at + len(row.note) <= width:
            yield (figures + _painted(row.note, style, coloured)).rstrip()
        elif width - at >= _NARROW:
            yield figures + _painted(_indented(row.note, at, width).lstrip(" "), style, coloured)
        else:
            yield figures.rstrip()
            yield _painted(_indented(row.note, start, width), style, coloured)


def _indented(words: str, indent: int, width: int) -> str:
    blanks = " " * indent
    return fill(words, width, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False)


def _painted(words: str, colour: str, coloured: bool) -> str:
    return colours.painted(words, colour) if coloured and colour and words.strip() else words


class Meter:
    """The progress of a load on a terminal, in a line; elsewhere nothing."""

    def __init__(self, plan: Plan, out: TextIO = sys.stderr) -> None:
        self._plan = plan
        self._line = StatusLine(out)
        self._before = Progress(0.0, 0, 0, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.erase()

    def report(self, progress: Progress) -> None:
        """Show the progress. Called a few times a second."""
        passed = progress.seconds - self._before.seconds
        if not self._line.is_shown or progress.seconds < 0 or passed < 0.2:
            return
        rate = (progress.answered - self._before.answered) / passed
        self._before = progress
        done = self._done(progress)
        left = f"{_clock(progress.seconds / done - progress.seconds)} left" if done else ""
        figures = f"{rate:,.0f} TPS, {progress.open:,} connections, {progress.failed:,} failed"
        self._line.show(f"{bar(done, _METER):{_METER}} {done:4.0%}  {left}  {figures}")

    def _done(self, progress: Progress) -> float:
        plan = self._plan
        by_time = progress.seconds / plan.seconds if plan.seconds else 0.0
        by_count = progress.sent / plan.requests if plan.requests else 0.0
        return min(1.0, max(by_time, by_count))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
