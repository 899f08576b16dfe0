"""A process that the lab starts: on certain cores, with all descriptors it may have, and never longer than the lab.

When the lab ends, however it ends, the kernel signals the child (prctl(2), PR_SET_PDEATHSIG; Linux). When the child
ends, the kernel reports what it and all that it waited for have used (wait4(2), getrusage(2)): to the microsecond, and
with every thread and process that started and ended in between. Where the lab may (as root, or with CAP_SYS_NICE), its
children have a higher priority (setpriority(2)), so that other processes disturb the figures less.
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
"""Nice value of children: of a core that one other process wants, they get 96 in 100 (sched(7))."""

_POLL_INTERVAL: Final = 0.005
"""Seconds between two checks."""

_MOST_THREADS: Final = 200
"""Threads of a process that are read: to read ten thousand would disturb what is measured."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Resources used by a process and all that it waited for: seconds of CPU, context switches of all threads."""

    cpu: float
    switches: int


class ChildProcess:
    """A running command. `output` is the file for its standard output and error.

    at_death  signal that it gets if the lab dies
    """

    def __init__(
        self, command: Sequence[str], *, cores: Collection[int], output: Path, at_death: int = signal.SIGTERM
    ) -> None:
        self.output = output
        # A KeyboardInterrupt in a function that Python calls at a fork is only reported, and lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            with output.open("wb") as file:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    preexec_fn=_preparation(cores, at_death, mask),
                    start_new_session=True,  # Ctrl-C is for the lab, which then ends its children in order
                )
            self.pid = self._process.pid
            self._spent: Spent | None = None
        finally:
            self._unblock(mask)

    def _unblock(self, mask: Collection[int]) -> None:
        """Let signals come again. End the child where one has come meanwhile: nobody else knows it yet."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except KeyboardInterrupt:
            if hasattr(self, "pid"):
                self._process.kill()
                self._process.wait()
            raise

    @property
    def status(self) -> int | None:
        """Exit status, -N for signal N; None while it runs."""
        if self._spent is None:
            pid, ended, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(ended)
                self._spent = Spent(used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw)
        return self._process.returncode

    @property
    def spent(self) -> Spent | None:
        """Resources used, once it has ended."""
        return self._spent

    def output_tail(self) -> str:
        """Return the last 4 KB of its output so far."""
        with self.output.open("rb") as file:
            file.seek(max(0, self.output.stat().st_size - 4096))
            return file.read().decode("utf-8", "replace")

    def wait(self, seconds: float) -> bool:
        """Return whether it ended within so many seconds."""
        return wait_until(lambda: self.status is not None, seconds)

    def end(self, patience: float) -> bool:
        """Send TERM, and KILL to the rest of its tree after `patience` seconds; return whether TERM sufficed."""
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


def _preparation(cores: Collection[int], at_death: int, mask: Collection[int]) -> Callable[[], None]:
    """Return the function that the child runs between fork and exec. `mask` has the signals that it blocks."""
    lab_pid = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
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
    """Raise the priority in the session, and of the session: where sessions share the cores, the former alone does
    little."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(PRIORITY))


def most_descriptors() -> int:
    """Raise the soft limit of descriptors to the hard one for this process, and return it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition came true within so many seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def tree(pid: int) -> list[int]:
    """Return a process and all living descendants; without the kernel's help the process alone."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in tasks(parent):
                found += map(int, (task / "children").read_text().split())
    return found


def tasks(pid: int) -> list[Path]:
    """Return the folders of a process's threads, at most so many that reading them costs little. Raises OSError."""
    return list(islice(Path(f"/proc/{pid}/task").iterdir(), _MOST_THREADS))


def stat(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on (proc_pid_stat(5)); empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _has_ended(pid: int, started: str) -> bool:
    return _start_time(pid) != started


def _start_time(pid: int) -> str:
    """Return the start time of a process: with the pid, its identity. Empty if it is gone or a zombie."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""
