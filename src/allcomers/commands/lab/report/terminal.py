"""The lab's output in a terminal: a bar with the time left while it runs, a table and a paragraph at the end."""

from __future__ import annotations

import sys
import time
from math import nan
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Ranked, Standing
from allcomers.commands.lab.data.plan import Probe, Stage

_STAGES = {
    "screen": "1 of 3, first look",
    "ladder": "2 of 3, from one client to many",
    "open": "3 of 3, at a given rate",
}

_WIDE = 120
"""Columns, if there is no terminal."""


class Progress:
    """The progress on standard error: a bar on a terminal, else a line for each stage. No thread draws it: fork is
    near."""

    def __init__(self, budget: float) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._budget = budget
        self._stage = self._trial = self._doing = ""
        self._spent, self._since = 0.0, time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def probed(self, probe: Probe) -> None:
        self._console.print(
            f"A lone request takes {wording.seconds(probe.response)}, {wording.seconds(probe.cpu)} of it on a core."
        )
        if probe.warning:
            self._console.print(probe.warning)

    def stage(self, stage: Stage) -> None:
        self._stage = _STAGES[stage.kind]
        count = wording.many(len(stage.entrants), "candidate")
        if not self._console.is_terminal:
            self._console.print(f"{self._stage}: {count}")

    def trial(self, number: int, spent: float) -> None:
        self._trial, self._spent, self._since = f"trial {number}", spent, time.monotonic()
        self._draw()

    def activity(self, text: str) -> None:
        """Show the current activity."""
        self._doing = text
        self._draw()

    def _draw(self) -> None:
        spent = min(self._spent + time.monotonic() - self._since, self._budget)
        left = max(0.0, self._budget - spent)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=self._budget, completed=spent, width=30),
            f"{left // 60:.0f}:{left % 60:02.0f} left",
            f"{self._stage}, {self._trial}",
        )
        self._live.update(Group(bar, Text(f"  {self._doing}", style="dim")), refresh=True)

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def show(results: Results) -> None:
    """Show the table and the recommendation on standard output."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    console.print()
    console.print(_table(results))
    verdict = results.verdict
    console.print()
    if results.is_race:
        for ranked in verdict.runners_up:
            console.print(Text.assemble((f"{ranked.standing.candidate.name}. ", "bold"), ranked.why))
    elif verdict.chosen is None:
        console.print("[bold red]Nothing could be measured.[/]")
    else:
        _show_ranked(console, "Run", verdict.chosen, "bold green")
        for number, ranked in enumerate(verdict.runners_up):
            _show_ranked(console, "Next" if number == 0 else "Then", ranked, "bold")
    for ranked in verdict.others:
        console.print(Text.assemble((f"Not {ranked.standing.candidate.name}. ", "dim bold"), (ranked.why, "dim")))
    for caution in verdict.cautions:
        console.print(Text.assemble(("Know: ", "bold yellow"), caution))


def _show_ranked(console: Console, lead: str, ranked: Ranked, style: str) -> None:
    console.print(Text.assemble((f"{lead} {ranked.standing.candidate.name}. ", style), ranked.why))


def _table(results: Results) -> Padding:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("", no_wrap=True, overflow="fold")
    for column in ("requests/s", "× best", "clients", "p50", "p99", "CPU", "memory", "switches"):
        table.add_column(column, justify="right", no_wrap=True, overflow="fold")
    chosen = results.verdict.chosen
    for one in results.standings:
        style = "green" if chosen and one is chosen.standing else "" if one.stage != "screen" else "dim"
        table.add_row(*_cells(one), style=style)
    return Padding(table, (0, 0))


def _cells(one: Standing) -> list[str]:
    if one.failure and not one.capacity.count:
        return [one.candidate.name, "failed", *[""] * 7]
    at_best = one.rung(one.clients)
    return [
        one.candidate.name,
        ("≈ " if one.limited else "") + wording.spread(one.capacity),
        wording.to_best(one.to_best, is_best=one.is_best, tied=one.tied),
        f"{one.clients:,}" if one.clients else "–",
        wording.seconds(at_best.p50 if at_best else nan),
        wording.seconds(at_best.p99 if at_best else nan),
        wording.seconds(one.cpu.value),
        wording.size(one.memory),
        wording.number(one.switches),
    ]
