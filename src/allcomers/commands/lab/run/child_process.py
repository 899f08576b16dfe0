"""A process that the lab starts: on certain cores, with all the descriptors it may have, and never longer than the lab.

When the lab ends, however it ends, the kernel signals the child (prctl(2), PR_SET_PDEATHSIG; Linux). When the child
ends, the kernel tells what it and all that it waited for have used (wait4(2), getrusage(2)): to the microsecond, and
with every thread and process that has come and gone in between. Where the lab may (as root, or with CAP_SYS_NICE), its
children go before others (setpriority(2)), so that what else runs on the machine is seen less in the figures.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
PRIORITY: Final = -15
"""The nice value of children: of a core that one other process wants, they have 96 in 100 (sched(7))."""

_POLL_INTERVAL: Final = 0.005
"""Seconds between two looks at whether it has ended."""

_MOST_THREADS: Final = 200
"""Threads of a process: to look at ten thousand would disturb what is measured."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process and all that it waited for have used: seconds of CPU, context switches of all threads."""

    cpu: float
    switches: int


class ChildProcess:
    """A running command. `output` is the file that has what it says on standard output and error.

    at_death  the signal that it gets if the lab dies
    """

    def __init__(
        self, command: Sequence[str], *, cores: Collection[int], output: Path, at_death: int = signal.SIGTERM
    ) -> None:
        self.output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=_preparation(cores, at_death),
                start_new_session=True,  # Ctrl-C is for the lab, which then ends its children in order
            )
        self.pid = self._process.pid
        self._spent: Spent | None = None

    @property
    def status(self) -> int | None:
        """Its exit status, -N for signal N; None while it runs."""
        if self._spent is None:
            pid, ended, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(ended)
                self._spent = Spent(used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw)
        return self._process.returncode

    @property
    def spent(self) -> Spent | None:
        """Once it has ended."""
        return self._spent

    def output_tail(self) -> str:
        """What it has said so far, the last 4 KB of it."""
        with self.output.open("rb") as file:
            file.seek(max(0, self.output.stat().st_size - 4096))
            return file.read().decode("utf-8", "replace")

    def wait(self, seconds: float) -> bool:
        """Has it ended within so many seconds?"""
        return wait_until(lambda: self.status is not None, seconds)

    def end(self, patience: float) -> bool:
        """TERM, and KILL for what is left of its tree after `patience` seconds; did TERM do?"""
        if self.status is not None:
            return True
        members = {pid: _start_time(pid) for pid in tree(self.pid)}
        os.kill(self.pid, signal.SIGTERM)
        terminated = self.wait(patience)
        for pid, started in members.items():
            if started and _start_time(pid) == started and (pid != self.pid or not terminated):
                terminated = terminated and wait_until(partial(_has_ended, pid, started), 0.5)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.wait(patience)
        return terminated


def _preparation(cores: Collection[int], at_death: int) -> Callable[[], None]:
    """What the child does between fork and exec."""
    lab_pid = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, at_death)
            if os.getppid() != lab_pid:  # it died before
                os._exit(1)
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        _raise_priority()
        most_descriptors()

    return prepare


def _raise_priority() -> None:
    """Of its session, and its session of all: where sessions share the cores, a process's own value says little."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(PRIORITY))


def most_descriptors() -> int:
    """Raise the soft limit to the hard one, for this process; what that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Did it come true within so many seconds?"""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def tree(pid: int) -> list[int]:
    """A process and all that it or its own have started and that live; without the kernel's help the one alone."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in tasks(parent):
                found += map(int, (task / "children").read_text().split())
    return found


def tasks(pid: int) -> list[Path]:
    """The folders of a process's threads, at most so many that reading them costs little. Raises OSError."""
    return list(islice(Path(f"/proc/{pid}/task").iterdir(), _MOST_THREADS))


def stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on (proc_pid_stat(5)); empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _has_ended(pid: int, started: str) -> bool:
    return _start_time(pid) != started


def _start_time(pid: int) -> str:
    """The start time of a process: with the pid, its identity. Empty when it is gone or a zombie."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""
