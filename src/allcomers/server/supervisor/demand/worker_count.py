"""The number of workers wanted: by the options, by signals, and within a range by demand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from allcomers.config.checks import WorkerRange
from allcomers.system import counters

_logger = logging.getLogger("allcomers.supervisor")


class WorkerCount:
    """The number of workers wanted. It begins at the least of a range.

    wanted  how many
    range   the bounds of `wanted` where it changes by demand; else None
    scaled  its last change: (an index of counters.SCALES, when, by how many)
    """

    def __init__(self, count: int, on_scaled: Callable[[int, int], object] = lambda wanted, before: None) -> None:
        """Call `on_scaled` with the number and the one before at each change but those of options."""
        self.range = count if isinstance(count, WorkerRange) else None
        self.wanted = count if self.range is None else self.range.least
        self.scaled = (counters.UNSCALED, 0.0, 0)
        self._on_scaled = on_scaled

    def allow(self, count: int) -> None:
        """Have `count` workers from now on; of a range as many as there are, as far as it goes."""
        self.range = count if isinstance(count, WorkerRange) else None
        self.wanted = count if self.range is None else self._allowed(self.wanted)

    def resume(self, wanted: int) -> None:
        """Begin with as many as an old server had, if they change by demand."""
        if self.range is not None:
            self.wanted = self._allowed(wanted)

    def scale(self, by: int, reason: int = counters.BY_SIGNAL, explained: str = "") -> None:
        """Want more workers, or fewer; at least one, and no other number than the range has."""
        before, self.wanted = self.wanted, self._allowed(self.wanted + by)
        if self.wanted != before:
            self.scaled = (reason, monotonic(), by)
        of_range = "" if self.range is None else f" of {self.range}"
        _logger.info("workers wanted: %d%s%s", self.wanted, of_range, explained and f"; {explained}")
        if self.wanted != before:
            self._on_scaled(self.wanted, before)

    def _allowed(self, wanted: int) -> int:
        return max(1, wanted) if self.range is None else min(max(self.range.least, wanted), int(self.range))
