"""Wear: a worker that has answered so many requests, or grown so large, asks for another to take its place.

It serves on until the other is ready, so the limits are when to ask, not where to stop. They are looked at whenever the
supervisor asks for a sign of life, which is about once a second where there are any.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from allcomers.config.options import Config

_logger = logging.getLogger("allcomers.worker")

_STATM: Final = Path("/proc/self/statm")


class RecyclePolicy:
    """Made when the worker is ready.

    answered  how many messages it has answered by now
    ask       asks for another worker, and says why; once
    """

    def __init__(self, config: Config, answered: Callable[[], int], ask: Callable[[str], object]) -> None:
        self._answered = answered
        self._ask = ask
        self._asked = False
        self._most_answers = _by_chance(config.max_requests, config.max_requests_jitter)
        self._most_memory = config.max_memory
        if self._most_memory and (used := resident()) >= self._most_memory:
            self._most_memory = 0  # else each new one would ask for the next at once
            text = "--max-memory is not heeded: a worker that has served nobody has %s already"
            _logger.warning(text, _mebibytes(used))

    def check(self) -> None:
        """Ask, if it is time to."""
        if self._asked:
            return
        why = self._why()
        if why:
            self._asked = True
            self._ask(why)

    def _why(self) -> str:
        if self._most_answers and (count := self._answered()) >= self._most_answers:
            return f"it has answered {count} requests"
        if self._most_memory and (used := resident()) >= self._most_memory:
            return f"it has grown to {_mebibytes(used)}"
        return ""


def resident() -> int:
    """Bytes of this process that are in memory (proc_pid_statm(5)); 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _by_chance(least: int, jitter: int) -> int:
    # urandom: each worker draws for itself, whatever it was forked from, and `random` would take 5 ms to load
    return least + int.from_bytes(os.urandom(4), "big") % (jitter + 1) if least else 0
