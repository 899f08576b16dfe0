"""A snapshot of the counter board and /proc: the counts of each worker since the server started, and its state now.

Rows are read while workers write them: a snapshot may count a request but not yet its bytes. Each number by itself is
consistent, because it is one word of memory. A worker can write any number anywhere, so each that stands for something
else than itself is checked here: what a snapshot has is of the right kind, though perhaps not true.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Final

from allcomers.system import counters
from allcomers.system.counters import CounterBoard

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """A place that has a worker, or had one; the next worker goes on with its counters.

    state   one of counters.STATES
    silent  seconds since a ping that it has not answered
    cells   its row and those of its children, added up
    cpu     seconds of CPU time that the worker has used; 0.0 if the system does not report it
    memory  its resident bytes
    """

    place: int
    state: str
    pid: int
    born: float
    silent: float
    cells: list[int]
    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The server at one time.

    time     seconds of the monotonic clock
    stage    one of counters.STAGES
    scheme   of the addresses; "" before it is known
    wanted   how many workers are wanted
    range    the least and the most that there may be by demand; (0, 0) where the number is fixed
    scaled   the last change of `wanted`: (one of counters.SCALES, when on the same clock, whether it was one more)
    beat     the supervisor's last sign of life, on the same clock
    reload   (one of counters.RELOADS, when it began on the same clock, how many workers it has still to replace)
    ended    workers that ended by themselves, and that were replaced, since the server started
    total    the cells of all places, added up
    """

    time: float
    stage: str
    scheme: str
    wanted: int
    range: tuple[int, int]
    scaled: tuple[str, float, bool]
    beat: float
    reload: tuple[str, float, int]
    ended: tuple[int, int]
    workers: list[WorkerSnapshot]
    total: list[int]

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests: a worker answers, and the server is not about to stop."""
        serves = any(worker.state == "ready" and worker.silent == 0 for worker in self.workers)
        return self.stage == "serving" and serves

    @property
    def live(self) -> bool:
        """Whether the supervisor runs."""
        return abs(self.time - self.beat) < BEAT_TIMEOUT


BEAT_TIMEOUT: Final = 30.0
"""Seconds without a sign of life after which the supervisor counts as dead; it gives one each second."""


def snapshot(board: CounterBoard) -> Snapshot:
    """Read the board and /proc now."""
    head = board.head
    spare = counters.PARENTS * counters.CHILDREN  # as many rows of children as there are
    workers: list[WorkerSnapshot] = []
    for place in range(1, board.highest + 1):
        rows = board.rows(place)[: 1 + spare]
        spare -= len(rows) - 1
        workers.append(_worker(rows, place))
    return Snapshot(
        time=monotonic_ns() / 1e9,
        stage=counters.named(counters.STAGES, head[counters.STAGE]),
        scheme=counters.named(counters.SCHEMES, head[counters.SCHEME]),
        wanted=head[counters.WANTED],
        range=(head[counters.LEAST], head[counters.MOST]),
        scaled=(
            counters.named(counters.SCALES, head[counters.SCALED]),
            head[counters.SCALED_AT] / 1e9,
            head[counters.SCALED_BY] == 1,
        ),
        beat=head[counters.BEAT] / 1e9,
        reload=(
            counters.named(counters.RELOADS, head[counters.RELOAD]),
            head[counters.RELOAD_AT] / 1e9,
            head[counters.RELOAD_LEFT],
        ),
        ended=(head[counters.DIED], head[counters.REPLACED]),
        workers=workers,
        total=_sum([worker.cells for worker in workers]),
    )


def _worker(rows: list[memoryview[int]], place: int) -> WorkerSnapshot:
    own = rows[0]
    state = counters.named(counters.STATES, own[counters.STATE])
    pid = own[counters.PID] if state != "free" else 0
    cpu, memory = usage(pid) if pid else (0.0, 0)
    return WorkerSnapshot(
        place=place,
        state=state,
        pid=pid,
        born=own[counters.BORN] / 1e9,
        silent=own[counters.SILENT] / 1e3,
        cells=_sum([list(row) for row in rows]),
        cpu=cpu,
        memory=memory,
    )


def _sum(rows: list[list[int]]) -> list[int]:
    if len(rows) == 1:
        return rows[0]
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * counters.SLOTS


def usage(pid: int) -> tuple[float, int]:
    """Return (CPU seconds, resident bytes) of a process. The CPU time includes children that have ended.

    Return (0.0, 0) if the process has ended, or the system does not report them (proc_pid_stat(5)).
    """
    try:
        # The name of the program is in parentheses, and may contain some.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    user, system, children_user, children_system = map(int, fields[11:15])
    return (user + system + children_user + children_system) / _TICKS, int(fields[21]) * _PAGE
