"""One look at the board and at /proc: what each worker has done since the server began, and how it is now.

Rows are read while others write them: a look may see a request that is counted and its bytes that are not yet. Each
number by itself is whole, for it is one word of memory.
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
class WorkerLook:
    """A place that has a worker, or had one: its counters go on with the next.

    state   one of stats.STATES
    silent  seconds for which it has owed a sign of life
    cells   its row and its children's, added up
    cpu     seconds of CPU time that the worker has used; 0.0 where the system does not tell
    memory  bytes of it that are in memory
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
class Look:
    """All of them at one time.

    time     seconds of the monotonic clock
    stage    one of stats.STAGES
    scheme   of the addresses that are served; "" before it is known
    wanted   how many workers
    beat     when the supervisor last went round, on the same clock
    total    the cells of all places, added up
    """

    time: float
    stage: str
    scheme: str
    wanted: int
    beat: float
    workers: list[WorkerLook]
    total: list[int]

    @property
    def ready(self) -> bool:
        """Should a load balancer send somebody? One worker at least answers, and the server does not leave."""
        serves = any(worker.state == "ready" and worker.silent == 0 for worker in self.workers)
        return self.stage == "serving" and serves

    @property
    def live(self) -> bool:
        """Does the supervisor go round?"""
        return self.time - self.beat < STILL


STILL: Final = 30.0
"""Seconds after which a supervisor that has not gone round is taken for dead; it does each second."""


def look(board: CounterBoard) -> Look:
    head = board.head
    workers = [_worker(board, place) for place in range(1, head[counters.HIGHEST] + 1)]
    return Look(
        time=monotonic_ns() / 1e9,
        stage=counters.STAGES[head[counters.STAGE]],
        scheme=counters.SCHEMES[head[counters.SCHEME]],
        wanted=head[counters.WANTED],
        beat=head[counters.BEAT] / 1e9,
        workers=workers,
        total=_sum([worker.cells for worker in workers]),
    )


def _worker(board: CounterBoard, place: int) -> WorkerLook:
    own = board.row(place)
    state = counters.STATES[own[counters.STATE]]
    pid = own[counters.PID] if state != "free" else 0
    cpu, memory = usage(pid) if pid else (0.0, 0)
    return WorkerLook(
        place=place,
        state=state,
        pid=pid,
        born=own[counters.BORN] / 1e9,
        silent=own[counters.SILENT] / 1e3,
        cells=_sum([list(row) for row in board.rows(place)]),
        cpu=cpu,
        memory=memory,
    )


def _sum(rows: list[list[int]]) -> list[int]:
    if len(rows) == 1:
        return rows[0]
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * counters.SLOTS


def usage(pid: int) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process; of the process model, the children that are gone are in it, too.

    (0.0, 0) where the system does not tell, or the process is gone (proc_pid_stat(5)).
    """
    try:
        # The name of the program stands in parentheses, and may have some itself.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    user, system, children_user, children_system = map(int, fields[11:15])
    return (user + system + children_user + children_system) / _TICKS, int(fields[21]) * _PAGE
