"""Orphans: processes that are the supervisor's children, though it has not started them.

As process 1 of a container it gets each process whose parent has ended, and elsewhere those that its workers have left
(PR_SET_CHILD_SUBREAPER). It collects them when they end: else they would stay as zombies. Those that a worker which had
to be killed has left, it tells to end, and kills later; at the server's end, all that are left of the workers.

It spares its other children: those that it had when it was started (a script may have started them, before it became
this program by exec), and new servers (USR2).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from allcomers.system.processes import descendants
from allcomers.system.processes.descendants import Process

_logger = logging.getLogger("allcomers.supervisor")


class Parent(Protocol):
    """An object that has started children of this process."""

    @property
    def pids(self) -> Collection[int]:
        """The ids of those that it has not collected."""
        ...

    def reap(self) -> None:
        """Collect those that have ended."""
        ...


class Orphans:
    """The children of this process that are not its own. Create it before the first fork.

    patience  seconds that they have to end

    due  when turn() has work
    """

    def __init__(self, patience: float) -> None:
        self.due = float("inf")
        self._patience = patience
        self._others = {process.pid for process in descendants.children(os.getpid())}

    def spare(self, pids: Iterable[int]) -> None:
        """Let these children live on when the server ends."""
        self._others.update(pids)

    def reap(self, parents: Iterable[Parent]) -> None:
        """Have the parents collect the children that are theirs, and collect all others that have ended."""
        parents = tuple(parents)
        for parent in parents:
            parent.reap()
        with suppress(ChildProcessError, AttributeError):  # macOS has os.waitid() from Python 3.13 on
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                owner = next((parent for parent in parents if ended.si_pid in parent.pids), None)
                if owner is not None:  # it has ended since
                    owner.reap()
                    continue
                os.waitpid(ended.si_pid, 0)
                self._others.discard(ended.si_pid)

    def end_left(self) -> None:
        """Tell those to end that were left by processes which had to be killed (descendants.remember)."""
        left = descendants.remembered()
        if not left:
            self.due = float("inf")
        elif self.due == float("inf"):
            descendants.tell(left, signal.SIGTERM)
            self.due = monotonic() + self._patience

    def turn(self, now: float) -> None:
        """Kill those that were told to end, and have not."""
        if now >= self.due:
            descendants.tell(descendants.remembered(), signal.SIGKILL)
            self.due = float("inf")

    def end_all(self, reap: Callable[[], object]) -> None:
        """End all orphans: the last worker has ended."""

        def find() -> set[Process]:
            return descendants.descendants(os.getpid(), self._others) | descendants.remembered()

        until = monotonic() + self._patience
        told, _ = descendants.end_all(find, lambda: until, reap)
        if told:
            text = "processes that workers had left were told to end: %s"
            _logger.info(text, ", ".join(str(process.pid) for process in sorted(told)))
