"""A result, and the progress of a load, in the terminal: with rich if it is installed, else as plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.report.figures import Row, Section
from allcomers.commands.load.run.processes import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

try:
    import rich
except ImportError:
    HAS_RICH = False
else:
    HAS_RICH = bool(rich)

_BAR: Final = 32
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def show(headline: str, sections: Sequence[Section], out: TextIO) -> None:
    """Write the table of a result."""
    if HAS_RICH and out.isatty():
        _show_rich(headline, sections, out)
    else:
        out.write(plain(headline, sections))


def bar(share: float, width: int = _BAR) -> str:
    """Return a bar of block characters, to an eighth of one."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def plain(headline: str, sections: Sequence[Section]) -> str:
    """Return the table without colours."""
    lines = [headline]
    for section in sections:
        names = max(len(row.name) for row in section.rows)
        values = max(len(row.value) for row in section.rows)
        lines += ["", section.title, *(_plain_row(row, names, values) for row in section.rows)]
    return "\n".join(lines) + "\n"


def _plain_row(row: Row, names: int, values: int) -> str:
    mark = "" if row.bar < 0 else f"{bar(row.bar):{_BAR}}"
    return f"  {row.name:>{names}}  {row.value:>{values}}  {mark}  {row.note}".rstrip()


def _show_rich(headline: str, sections: Sequence[Section], out: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False)
    console.print(Text(headline, style="bold"))
    for section in sections:
        console.print(_grid(section))


def _grid(section: Section) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(section.title, style="bold cyan"), title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="left" if len(section.rows[0].name) == 1 else "right")  # a warning, or a figure
    table.add_column(no_wrap=True)
    table.add_column()
    for row in section.rows:
        style = "" if row.good is None else "green" if row.good else "yellow"
        mark = Text("" if row.bar < 0 else bar(row.bar), style="cyan")
        value, note = Text(row.value, style=style or "bold"), Text(row.note, style=style or "dim")
        table.add_row(Text(row.name), value, mark, note)
    return table


class Meter:
    """The progress of a load on a terminal: a bar, or without rich a line that is rewritten; elsewhere nothing."""

    def __init__(self, plan: Plan, out: TextIO = sys.stderr) -> None:
        self._plan = plan
        self._out = out
        self._shown = out.isatty()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._before = Progress(0.0, 0, 0, 0, 0)
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()

    def report(self, progress: Progress) -> None:
        """Show the progress. Called a few times a second."""
        passed = progress.seconds - self._before.seconds
        if not self._shown or progress.seconds < 0 or passed < 0.2:
            return
        rate = (progress.answered - self._before.answered) / passed
        self._before = progress
        text = f"{rate:,.0f} TPS, {progress.open:,} connections, {progress.failed:,} failed"
        if HAS_RICH:
            self._move(progress, text)
        else:
            line = f"{self._done(progress):4.0%}  {text}"
            self._out.write("\r" + line.ljust(self._width))
            self._out.flush()
            self._width = len(line)

    def _done(self, progress: Progress) -> float:
        plan = self._plan
        by_time = progress.seconds / plan.seconds if plan.seconds else 0.0
        by_count = progress.sent / plan.requests if plan.requests else 0.0
        return min(1.0, max(by_time, by_count))

    def _move(self, progress: Progress, text: str) -> None:
        if self._bar is None:  # not earlier: rich must not start before the fork
            self._bar = _bar_on(self._out)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=self._done(progress), description=text)
        self._bar.refresh()


def _bar_on(out: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(file=out),
        auto_refresh=False,  # no thread
        transient=True,
    )
