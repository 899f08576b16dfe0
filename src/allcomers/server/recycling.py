"""Recycling: a worker that has answered --max-requests, grown to --max-memory, or lived for --workers-lifetime requests
its replacement.

It serves until the replacement is ready, so it exceeds the limits for a while. It checks them at each ping of the
supervisor, which comes about once a second if there are limits.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from allcomers.config.options import Config

_logger = logging.getLogger("allcomers.worker")

_STATM: Final = Path("/proc/self/statm")


class RecyclePolicy:
    """The recycling limits of a worker. Create it when the worker is ready.

    answered             returns the number of requests answered so far
    request_replacement  called with the reason; once
    """

    def __init__(
        self, config: Config, answered: Callable[[], int], request_replacement: Callable[[str], object]
    ) -> None:
        self._answered = answered
        self._request_replacement = request_replacement
        self._requested = False
        self._max_requests = _by_chance(config.max_requests, config.max_requests_jitter)
        lifetime = config.workers_lifetime
        self._ends = monotonic() + lifetime * (1 + _by_chance(1, 99) / 1000) if lifetime else math.inf
        self._max_memory = config.max_memory
        if self._max_memory and (used := resident()) >= self._max_memory:
            self._max_memory = 0  # otherwise each new worker would request the next one at once
            text = "--max-memory has no effect: a worker that has served no client has %s already"
            _logger.warning(text, _mebibytes(used))

    def check(self) -> None:
        """Request the replacement if a limit is reached."""
        if self._requested:
            return
        reason = self._reason()
        if reason:
            self._requested = True
            self._request_replacement(reason)

    def _reason(self) -> str:
        if self._max_requests and (count := self._answered()) >= self._max_requests:
            return f"it has answered {count} requests"
        if self._max_memory and (used := resident()) >= self._max_memory:
            return f"it has grown to {_mebibytes(used)}"
        if monotonic() >= self._ends:
            return "it has reached --workers-lifetime"
        return ""


def resident() -> int:
    """Return the resident bytes of this process (proc_pid_statm(5)); 0 if the system does not report them."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _by_chance(least: int, jitter: int) -> int:
    # urandom: forked workers draw different numbers, and importing `random` takes 5 ms
    return least + int.from_bytes(os.urandom(4), "big") % (jitter + 1) if least else 0
