"""Detect whether server and load share a core, by Linux's /proc, if the server is on this machine.

A sample compares the cores on which those threads last ran that have used CPU since the sample before
(proc_pid_stat(5)). Unreadable entries are left out: sampling must never cost a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from allcomers.commands.load.data.plan import Destination

_LISTENS: Final = "0A"
_MOST_THREADS: Final = 64  # of a server

_UTIME, _STIME, _PROCESSOR = 11, 12, 36  # fields of stat after the name, which may contain blanks


def server_pids(destination: Destination) -> list[int]:
    """Return the processes of this machine that listen at `destination`, as far as this user may see them."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(destination.address[1])}
    return [pid for pid in _processes() if sockets and sockets & set(_files(pid))]


def _listeners(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115


class CoreSampler:
    """Samples the cores of both sides; `shared` is the share of samples in which both ran on one core."""

    def __init__(self, servers: Iterable[int], load: Iterable[int]) -> None:
        self._servers = list(servers)
        self._load = list(load)
        self._ticks: dict[str, int] = {}
        self.samples = 0
        """Samples in which both had used CPU."""
        self._same_core = 0

    @property
    def shared(self) -> float:
        return self._same_core / self.samples if self.samples else 0.0

    def sample(self) -> None:
        server, load = self._busy(self._servers), self._busy(self._load)
        if server and load:
            self.samples += 1
            self._same_core += bool(server & load)

    def _busy(self, pids: list[int]) -> set[int]:
        """Return the cores of those threads that have used CPU since their last sample."""
        found = set()
        for stat in _stats(pids):
            with suppress(OSError, ValueError, IndexError):
                fields = Path(stat).read_text().rpartition(")")[2].split()
                ticks = int(fields[_UTIME]) + int(fields[_STIME])
                if ticks > self._ticks.get(stat, ticks):
                    found.add(int(fields[_PROCESSOR]))
                self._ticks[stat] = ticks
        return found


def _stats(pids: list[int]) -> Iterator[str]:
    for pid in pids:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task")[:_MOST_THREADS]:  # noqa: PTH208
                yield f"/proc/{pid}/task/{thread}/stat"
