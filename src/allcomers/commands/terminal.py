"""Text for a terminal: tables whose columns leave by priority, paragraphs, help, bars. A pipe has room for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Final, TextIO

_BAR: Final = 32
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_COLUMNS: Final = " ▁▂▃▄▅▆▇█"
_ERASED: Final = "\r\x1b[K"
"""Back to the start of the line, which is erased (ECMA-48, 8.3.41)."""
_GAP: Final = 2
_READABLE: Final = 100
"""Columns of a paragraph, at most."""


def columns(stream: TextIO) -> int | None:
    """Return the columns of the terminal that `stream` writes to; None if it is no terminal, or has no known width."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `rank`: of those that do not fit, the highest leaves first; 0 never leaves."""

    name: str
    rank: int = 0
    left: bool = False


def table(heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """Return the head and the rows as padded cells of the columns that fit into `width`; None is room for all.

    No cell is ever cut: what does not fit even then is wider than the terminal. A column without a figure is left out.
    """
    cells = [[head.name for head in heads], *rows]
    wide = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    kept = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    while width and sum(wide[place] for place in kept) + _GAP * (len(kept) - 1) > width:
        last = max(kept, key=lambda place: (heads[place].rank, place))
        if not heads[last].rank:
            break
        kept.remove(last)
    return [
        [row[place].ljust(wide[place]) if heads[place].left else row[place].rjust(wide[place]) for place in kept]
        for row in cells
    ]


def line(cells: Sequence[str]) -> str:
    """Return a row of table()."""
    return (" " * _GAP).join(cells).rstrip()


def paragraph(text: str, width: int | None, indent: str = "") -> str:
    """Return `text` in lines that can be read; in one for a pipe. No word is cut, so that commands stay whole."""
    if width is None:
        return text
    return fill(
        text, min(width, _READABLE), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )  # fmt: skip


def refilled(text: str, width: int | None) -> str:
    """Return `text` with no line beyond `width`, as far as words allow; unchanged where it fits, or for a pipe.

    Neighbouring lines are one paragraph; one that is indented stands for itself, as a command does.
    """
    lines = text.splitlines()
    if width is None or all(len(line) <= width for line in lines):
        return text
    found: list[str] = []
    for is_own, group in groupby(lines, key=lambda line: not line or line.startswith(" ")):
        for one in group if is_own else (" ".join(group),):
            indent = one[: len(one) - len(one.lstrip())]
            found.append(
                fill(
                    one.strip(), width, initial_indent=indent, subsequent_indent=f"{indent}  " if indent else "",
                    break_on_hyphens=False, break_long_words=False,
                )
            )  # fmt: skip
    return "\n".join(found) + ("\n" if text.endswith("\n") else "")


def sparkline(values: Sequence[float]) -> str:
    """Return a column for each value, as high as its share of the largest; a value above 0 is always seen."""
    most = max(values, default=0.0)
    return "".join(
        _COLUMNS[max(1, round(value / most * (len(_COLUMNS) - 1)))] if value > 0 else " " for value in values
    )


def bar(share: float, width: int = _BAR) -> str:
    """Return a bar of block characters, to an eighth of one."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


class StatusLine:
    """A line on a terminal that is written anew each time; elsewhere nothing. No thread draws it: fork is near."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_shown = out.isatty()
        """Whether anything is shown."""

    def show(self, text: str) -> None:
        """Show `text`, cut at the edge of the terminal."""
        if self.is_shown:
            self._out.write(_ERASED + text[: (columns(self._out) or 80) - 1])
            self._out.flush()

    def erase(self) -> None:
        self.show("")
