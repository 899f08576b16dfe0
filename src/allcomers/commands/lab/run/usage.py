"""Resources that a process and all its descendants use at this moment (proc(5)); 0 without a /proc."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allcomers.commands.lab.run.child_process import stat, tasks, tree

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Size:
    """Anonymous memory in bytes, pages that processes share counted once; threads and processes."""

    memory: int = 0
    threads: int = 0
    processes: int = 0


def cpu(pid: int) -> float:
    """Return the seconds that a tree was on a core, with all that it has waited for.

    The ticks of proc_pid_stat(5), mostly 10 ms; of a process whose threads all live its schedstat, which has ns.
    """
    return sum(map(_cpu, tree(pid)))


def _cpu(pid: int) -> float:
    fields = stat(pid)
    if not fields:
        return 0.0
    own, waited = sum(map(int, fields[11:13])) / _TICKS, sum(map(int, fields[13:15])) / _TICKS
    return max(own, sum(_on_core(pid))) + waited


def _on_core(pid: int) -> Iterator[float]:
    with suppress(OSError):
        for task in tasks(pid):
            yield int((task / "schedstat").read_text().split()[0]) / 1e9


def busy(cores: Collection[int]) -> float:
    """Return the seconds that these cores have worked for any process (proc_stat(5))."""
    names = {f"cpu{core}" for core in cores}
    with suppress(OSError):
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        spent = (list(map(int, line[1:9])) for line in lines if line[0] in names)
        return sum(sum(times) - times[3] - times[4] for times in spent) / _TICKS  # except idle and iowait
    return 0.0


def size(pid: int) -> Size:
    """Return the size of a tree as it is now. A process that ends meanwhile is not in it."""
    members = tree(pid)
    threads = [int(fields[17]) for fields in map(stat, members) if fields and fields[0] != "Z"]
    return Size(sum(_anonymous(members)), sum(threads), len(threads))


def _anonymous(members: list[int]) -> Iterator[int]:
    for pid in members:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    yield int(line.split()[1]) * 1024
