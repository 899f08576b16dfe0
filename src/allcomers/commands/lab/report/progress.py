"""The progress of a lab on standard error: a line that is rewritten on a terminal, else a line for each stage."""

from __future__ import annotations

import sys
import time
from typing import Final, Self, TextIO

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.data.plan import Probe, Stage
from allcomers.commands.terminal import StatusLine, bar

_STAGES: Final = {
    "screen": "1 of 3, first look",
    "ladder": "2 of 3, from one client to many",
    "open": "3 of 3, at a given rate",
}

_BAR: Final = 20


class Progress:
    """The progress of a lab that has so many seconds."""

    def __init__(self, budget: float, out: TextIO = sys.stderr) -> None:
        self._budget = budget
        self._out = out
        self._line = StatusLine(out)
        self._stage = self._trial = self._doing = ""
        self._spent, self._since = 0.0, time.monotonic()

    def probed(self, probe: Probe) -> None:
        call = f"A lone request takes {wording.seconds(probe.response)}, {wording.seconds(probe.cpu)} of it on a core."
        self._print(call, *([probe.warning] if probe.warning else []))

    def stage(self, stage: Stage) -> None:
        self._stage = _STAGES[stage.kind]
        if not self._line.is_shown:
            self._print(f"{self._stage}: {wording.many(len(stage.entrants), 'candidate')}")

    def trial(self, number: int, spent: float) -> None:
        self._trial, self._spent, self._since = f"trial {number}", spent, time.monotonic()
        self._draw()

    def activity(self, text: str) -> None:
        """Show the current activity."""
        self._doing = text
        self._draw()

    def _print(self, *lines: str) -> None:
        self._line.erase()
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()

    def _draw(self) -> None:
        spent = min(self._spent + time.monotonic() - self._since, self._budget)
        left = max(0.0, self._budget - spent)
        text = ", ".join(filter(None, (self._stage, self._trial, self._doing)))
        self._line.show(f"{bar(spent / self._budget, _BAR):{_BAR}} {left // 60:.0f}:{left % 60:02.0f} left  {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.erase()
