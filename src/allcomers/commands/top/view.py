"""What the screen shows, and what each key changes of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Tab(Enum):
    WORKERS = "workers"
    ERRORS = "the last errors"
    HELP = "keys"


WINDOWS: Final = {"1": "1", "2": "10", "3": "60"}
"""By key: the seconds over which the figures are computed."""

SORTS: Final = {"n": "pid", "a": "age", "u": "users", "t": "tps", "p": "p99", "c": "cpu", "m": "memory"}
"""By key: the figure by which workers are sorted."""

TABS: Final = {"e": Tab.ERRORS, "?": Tab.HELP, "h": Tab.HELP}

_LINE, _SCREEN, _ALL = 1, 10, 1 << 30
_SCROLLS: Final = {
    "j": _LINE, "\x1b[B": _LINE, "\x1bOB": _LINE, "k": -_LINE, "\x1b[A": -_LINE, "\x1bOA": -_LINE,
    " ": _SCREEN, "\x1b[6~": _SCREEN, "b": -_SCREEN, "\x1b[5~": -_SCREEN,
    "G": _ALL, "\x1b[F": _ALL, "g": -_ALL, "\x1b[H": -_ALL,
}  # fmt: skip
"""By key, arrows and the keys beside them as xterm sends them: how many lines down."""

HELP: Final = (
    ("1 2 3", "figures over 1, 10 or 60 seconds"),
    ("n a u", "sort workers by number, age, users"),
    ("t p c m", "… by TPS, p99, CPU, memory; again: the other way round"),
    ("↓ ↑ j k", "a line down, up"),
    ("PgDn PgUp", "ten lines down, up; space and b, too"),
    ("Home End", "to the first, the last line; g and G, too"),
    ("e", "the last errors with their stacks; again: the workers"),
    ("?", "these keys; again: the workers"),
    ("q Ctrl-C", "leave"),
)


@dataclass(slots=True)
class View:
    """The choices of the user.

    window    seconds, a key of the figures' windows
    sort      the figure by which workers are sorted, "" for the order of their places
    offset    lines that are above the first of the tab; `fit` bounds it
    """

    tab: Tab = Tab.WORKERS
    window: str = "10"
    sort: str = ""
    ascending: bool = False
    offset: int = 0

    def press(self, key: str) -> None:
        """Change what the key stands for; another key changes nothing."""
        if key in WINDOWS:
            self.window = WINDOWS[key]
        elif key in SORTS:
            self.ascending = not self.ascending if self.sort == SORTS[key] else key == "n"
            self.sort = SORTS[key]
        elif key in TABS:
            self.tab = Tab.WORKERS if self.tab is TABS[key] else TABS[key]
            self.offset = 0
        elif key in _SCROLLS:
            self.offset = max(0, self.offset + _SCROLLS[key])

    def fit(self, lines: int, room: int) -> slice:
        """Return which of so many lines are seen where there is room for `room`; scroll no further than to the last."""
        self.offset = min(self.offset, max(0, lines - room))
        return slice(self.offset, self.offset + room)
