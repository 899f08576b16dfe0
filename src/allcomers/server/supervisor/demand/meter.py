"""The load of the workers, from their rows of the live figures, the listeners' backlogs and the kernel's accounts.

What a worker writes is not trusted here either: it may hide that it is busy or pretend it, and so move the number of
workers within its range, no more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, TypeAlias

from allcomers.config.checks import cores
from allcomers.config.options import Config
from allcomers.server.admin.snapshot import usage
from allcomers.server.supervisor.demand.policy import Load
from allcomers.system import counters, sockets
from allcomers.system.counters import CounterBoard
from allcomers.system.memory.cgroup import Cgroup, Files

MOST_OWED: Final = 5.0
"""Seconds."""

Member: TypeAlias = tuple[int, int, bool]
"""A worker that is to stay: its process id, its place on the board, whether it serves."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Sample:
    """The counts of a worker at one time.

    cpu         seconds
    busy        nanoseconds of its loop
    queued      calls that wait for a thread
    unanswered  requests
    shed        requests refused by overload
    pooled      whether its calls have threads of the pool
    """

    cpu: float
    busy: int
    accepted: int
    dequeued: int
    queued: int
    unanswered: int
    shed: int
    pooled: bool


class Meter:
    """The load between two calls of look()."""

    def __init__(self, board: CounterBoard, root: Path = Path("/")) -> None:
        self._board = board
        self._root = root
        self._quota = Cgroup(Files(root)).quota()
        self._time = 0.0
        self._idle: float | None = None
        self._samples: dict[int, _Sample] = {}  # by process id
        self._owed: dict[int, float] = {}
        self._first: dict[int, _Sample] = {}  # what a killed worker left in the row is not its successor's

    def look(
        self, now: float, config: Config, members: Sequence[Member], listeners: Sequence[socket.socket]
    ) -> Load | None:
        """Return the load since the last call; None at the first."""
        seconds, idle = now - self._time, _idle(self._root)
        before = self._samples
        self._samples = {pid: _sample(self._board, pid, place) for pid, place, _ in members if place}
        self._first = {pid: self._first.get(pid, sample) for pid, sample in self._samples.items()}
        self._owed = {pid: owed for pid, owed in self._owed.items() if pid in self._samples}
        old_idle, self._idle, old_time, self._time = self._idle, idle, self._time, now
        if not old_time:
            return None
        pairs = {pid: (before[pid], sample) for pid, sample in self._samples.items() if pid in before}
        cpu = {pid: max(0.0, new.cpu - old.cpu) / seconds for pid, (old, new) in pairs.items()}
        serving = [pid for pid, _, is_ready in members if is_ready]  # others are busy with loading the app
        spare = inf if idle is None or old_idle is None else (idle - old_idle) / seconds
        return Load(
            serving=len(serving),
            busy=sum(
                max(min(1.0, cpu[pid]), self._loop_share(pid, old, new, seconds), self._thread_share(config, pid))
                for pid, (old, new) in pairs.items()
                if pid in serving
            ),
            wait=max(self._call_wait(pairs, seconds), _peer_wait(pairs, listeners, seconds)),
            refused=sum(max(0, new.shed - old.shed) for old, new in pairs.values()),
            cpu=sum(cpu.values()),
            cores=min(cores(), self._quota),
            spare=min(spare, self._quota - sum(cpu.values())),
        )

    def _loop_share(self, pid: int, old: _Sample, new: _Sample, seconds: float) -> float:
        """Return the part of the time for which a loop was busy. A turn counts when it ends, so what one that took
        longer than a look leaves is of the looks that follow, up to MOST_OWED seconds."""
        busy = max(0, new.busy - old.busy) / 1e9 + self._owed.pop(pid, 0.0)
        self._owed[pid] = min(MOST_OWED, max(0.0, busy - seconds))
        return min(1.0, busy / seconds)

    def _thread_share(self, config: Config, pid: int) -> float:
        """Return the part of its threads that a worker's requests have; 0 where they need none."""
        new, first = self._samples[pid], self._first[pid]
        if not new.pooled and config.model not in ("thread-pool", "iterative"):
            return 0.0
        threads = 1 if config.model == "iterative" else config.threads
        return min(1.0, max(0, new.unanswered - first.unanswered) / threads)

    def _call_wait(self, pairs: Mapping[int, tuple[_Sample, _Sample]], seconds: float) -> float:
        waiting = sum(max(0, new.queued - self._first[pid].queued) for pid, (_, new) in pairs.items())
        return _turn(waiting, sum(new.dequeued - old.dequeued for old, new in pairs.values()), seconds)


def _peer_wait(
    pairs: Mapping[int, tuple[_Sample, _Sample]], listeners: Sequence[socket.socket], seconds: float
) -> float:
    waiting = sum(sockets.queued(listener) or 0 for listener in listeners)
    return _turn(waiting, sum(new.accepted - old.accepted for old, new in pairs.values()), seconds)


def _turn(waiting: int, passed: int, seconds: float) -> float:
    """Return how long those that wait do so (Little's law), where `passed` had their turn in so many seconds."""
    if waiting <= 0:
        return 0.0
    return waiting * seconds / passed if passed > 0 else inf


def _sample(board: CounterBoard, pid: int, place: int) -> _Sample:
    rows = board.rows(place)
    own = rows[0]

    def count(*slots: int) -> int:
        return sum(row[slot] for row in rows for slot in slots)

    answered = range(counters.ANSWERED, counters.ANSWERED + counters.CLASSES)
    dequeued = count(counters.DEQUEUED)
    return _Sample(
        cpu=usage(pid)[0],
        busy=count(counters.BUSY_TIME),
        accepted=count(counters.ACCEPTED),
        dequeued=dequeued,
        queued=count(counters.QUEUED) - dequeued,
        unanswered=count(counters.REQUESTS) - count(*answered, counters.ABORTED),
        shed=count(counters.SHED),
        pooled=own[counters.WHERE] == counters.WHERES.index("pool") or own[counters.POOLED] != 0,
    )


def _idle(root: Path) -> float | None:
    """Return the seconds for which the cores that this process may use were idle (proc_stat(5)); None if none tells."""
    try:
        lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
        names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    fields = [line.split() for line in lines if line.startswith("cpu")]
    return sum(int(field[4]) + int(field[5]) for field in fields if field[0] in names) / _TICKS
