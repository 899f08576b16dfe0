"""The ledger: memory and temporary files that all peers hold together, and the bounds of both.

A bound for each peer says nothing about all of them: 10,000 peers that may hold 512 KiB each hold 5 GiB. So each
process counts what it holds for its peers, and writes the sums into its row of the board (counters.py), where all
workers read them: the total is the sum over the rows. The share of a process vanishes with it, for its row is cleared.

Memory is counted where it lasts: bytes received that no call has consumed, bodies of requests, messages of a WebSocket
that have begun, and responses that a socket did not take. Up to UNCOUNTED bytes of a peer are not: a connection costs
as much itself, and a common request holds none.

From three quarters of the bound on new bodies go to disk at once; at the bound new requests get 503; above it the peer
that holds most is ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final, Protocol

from allcomers.errors import SpoolFull
from allcomers.system.counters import (
    HELD_CUT,
    HELD_REFUSED,
    MEMORY_FULL,
    MEMORY_HELD,
    MEMORY_LIMIT,
    SPOOL_HELD,
    SPOOL_LIMIT,
    CounterRow,
)
from allcomers.system.memory import cgroup
from allcomers.system.processes.forks import new_lock

NO_LIMIT: Final = 1 << 62

TIGHT: Final = 3 / 4
"""The part of the bound from which on bodies go to disk: what cannot go there has the rest."""

MEMORY_PART: Final = 8
"""The part of the memory that this process may use which is held for peers by default: an eighth."""

SPOOL: Final = 4 << 30
SPOOL_PART: Final = 2
"""The bytes of temporary files by default, and the part of the free ones: at most a half."""

RETRY_AFTER: Final = 5
"""Seconds after which a refused client may try again: a slow peer is ended by its minimum rate as soon."""

_MIB: Final = 1 << 20

_logger = logging.getLogger("allcomers.worker")


class Holder(Protocol):
    """A connection, as the ledger knows it.

    driver  its `cut()` ends it, in its own thread
    """

    peer: str
    driver: Any


class Ledger:
    """The account of one process.

    counters    its row
    shares      returns this slot of all rows that are in use, its own among them
    max_memory, max_spool  bytes for all processes together
    tight       bool: bodies are to go to disk at once
    """

    def __init__(
        self,
        counters: CounterRow,
        shares: Callable[[int], list[int]],
        *,
        max_memory: int = NO_LIMIT,
        max_spool: int = NO_LIMIT,
    ) -> None:
        self.tight = False
        self.max_memory = max_memory
        self.max_spool = max_spool
        self._counters = counters  # not its cells: a child of the process model gets others
        self._shares = shares
        self._memory = self._spool = 0
        self._holders: dict[Holder, int] = {}
        self._ended: dict[Holder, int] = {}  # those that were told to end, and have not given all back yet
        self._lock = new_lock()  # of the blocking models' threads
        self._reported: set[int] = set()  # the slots that were reported to be full, until they are not even tight
        for slot in (MEMORY_HELD, SPOOL_HELD, MEMORY_FULL):
            counters.cells[slot] = 0
        counters.cells[MEMORY_LIMIT], counters.cells[SPOOL_LIMIT] = max_memory, max_spool

    # ------------------------------------------------------------ memory

    def hold(self, holder: Holder, held: int, before: int) -> None:
        """Count `held` bytes for `holder`, in the place of those of `before`. This may end it, or another."""
        with self._lock:
            holders = self._ended if holder in self._ended else self._holders
            if held:
                holders[holder] = held
            else:
                holders.pop(holder, None)
        self.hold_memory(held - before)
        if held and self.tight and self._exceeds():
            self._cut_greediest()

    def hold_memory(self, change: int) -> None:
        """Count bytes of a body, which is not ended but goes to disk; a negative `change` gives them back."""
        with self._lock:
            self._memory = max(0, self._memory + change)  # for want of memory, what is given back may not be counted
            self._counters.cells[MEMORY_HELD] = self._memory
        if change > 0 or self.tight:
            self._look()

    def _look(self) -> None:
        """Look at what all hold, and note what follows."""
        total = sum(self._shares(MEMORY_HELD))
        self.tight = total >= self.max_memory * TIGHT
        self._counters.cells[MEMORY_FULL] = is_full = total >= self.max_memory
        self._report(MEMORY_HELD, is_full, self.tight, "--max-memory-held %.1f MiB: as much is held for clients")

    def _report(self, slot: int, is_full: bool, is_tight: bool, line: str) -> None:
        """Log once that all of a bound is held."""
        if is_full and slot not in self._reported:
            self._reported.add(slot)
            _logger.warning(line, (self.max_memory if slot == MEMORY_HELD else self.max_spool) / _MIB)
        elif not is_tight:
            self._reported.discard(slot)

    def _exceeds(self) -> bool:
        """Return whether too much is held, and more by this process than by others: they end their own peers.

        A peer alone may hold what it likes: a response that is larger than the bound is no sign of an attack.
        """
        with self._lock:
            ending = sum(self._ended.values())
        shares = self._shares(MEMORY_HELD)
        holding = sum(share > 0 for share in shares)
        is_alone = holding == 1 and len(self._holders) == 1
        is_over = sum(shares) - ending > self.max_memory < (self._memory - ending) * holding
        return is_over and not is_alone

    def _cut_greediest(self) -> None:
        with self._lock:
            if not self._holders:  # other threads have ended them
                return
            holder, held = max(self._holders.items(), key=lambda item: item[1])
            driver = holder.driver
            if driver is None:
                return
            self._ended[holder] = self._holders.pop(holder)  # it is not to be chosen again while its thread ends it
        self._counters.add(HELD_CUT)
        bound = self.max_memory / _MIB
        name = holder.peer or "a local peer"
        _logger.warning("%s: ended, for it held %.1f MiB; --max-memory-held is %.1f", name, held / _MIB, bound)
        driver.cut()

    def refuses(self) -> bool:
        """Return whether a new request is to be refused, and count it."""
        if not self._counters.cells[MEMORY_FULL]:
            return False
        self._look()  # others may have given back theirs
        if not self._counters.cells[MEMORY_FULL]:
            return False
        self._counters.add(HELD_REFUSED)
        return True

    # ------------------------------------------------------------ temporary files

    def hold_spool(self, change: int) -> None:
        """Count bytes of a temporary file before they are written; a negative `change` gives them back.

        Raises SpoolFull, with nothing counted.
        """
        after = sum(self._shares(SPOOL_HELD)) + change
        is_full = change > 0 and after > self.max_spool
        line = "--max-spool %.1f MiB: as much is in temporary files"
        self._report(SPOOL_HELD, is_full, after >= self.max_spool * TIGHT, line)
        if is_full:
            self._counters.add(HELD_REFUSED)
            raise SpoolFull("temporary files have all that --max-spool allows")
        with self._lock:
            self._spool += change
            self._counters.cells[SPOOL_HELD] = self._spool


def default_max_memory(root: str = "/") -> int:
    """Return an eighth of the memory that this process may use; no bound where nobody tells it."""
    return int(min(cgroup.memory(root) / MEMORY_PART, NO_LIMIT))


def default_max_spool(folder: str) -> int:
    """Return 4 GiB, or half of what is free in `folder` if that is less."""
    return int(min(SPOOL, free(folder) / SPOOL_PART))


def free(folder: str) -> float:
    """Return the bytes that are free in `folder`; inf if nobody tells."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return inf
    return found.f_bavail * found.f_frsize


def temp_folder() -> str:
    """Return the folder of temporary files: the choice of `tempfile`, without the file that it writes as a test."""
    named = [folder for name in ("TMPDIR", "TEMP", "TMP") if (folder := os.environ.get(name))]
    folders = [folder for folder in (*named, "/tmp", "/var/tmp", "/usr/tmp", ".") if Path(folder).is_dir()]
    usable = (folder for folder in folders if os.access(folder, os.W_OK | os.X_OK))
    return next(usable, folders[0] if folders else "/tmp")


def unbounded() -> Ledger:
    """Return a ledger of one process alone, without bounds."""
    counters = CounterRow()
    return Ledger(counters, lambda slot: [counters.cells[slot]])
