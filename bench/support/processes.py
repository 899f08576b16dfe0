"""Resources of a process tree, read from /proc."""

import os
import re
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2  # of a process, in the number of its clock: linux/posix-timers.h


def children(pid: int) -> list[int]:
    """Return the living processes that any thread of `pid` has forked."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    return [pid, *(member for child in children(pid) for member in tree(child))]


def stat(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on (proc_pid_stat(5)); empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> str:
    """Return the start time of a process: with the pid, its identity. Empty if it is gone or a zombie."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, all that it forked, and all of those that it has reaped.

    To the nanosecond, but for those that were reaped, whose time is known in hundredths of a second.
    """
    return sum(own_cpu_seconds(member) + sum(map(int, stat(member)[13:15])) / TICKS for member in tree(pid))


def own_cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its threads, ended ones too: clock_getcpuclockid(3). 0 if it is
    gone."""
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def task_ns(pid: int) -> int:
    """Return nanoseconds that a process of one thread was on a core: finer than its ticks (sched-stats.rst)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def anonymous_kib(pid: int) -> int:
    """Return the anonymous memory of a tree in KiB, pages that its members share counted once (Pss_Anon)."""
    total = 0
    for member in tree(pid):
        rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss_Anon:\s+(\d+)", rollup, re.M)[1])  # type: ignore[index]
    return total
