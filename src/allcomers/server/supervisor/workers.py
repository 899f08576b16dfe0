"""The staff: the worker processes. As many as are wanted are started; who dies, hangs or is worn out is replaced.

Another always starts before the one goes whose place it takes, and that one goes only once the other is ready: there
are never fewer than wanted that serve. Whatever keeps a new one from starting, those who are there serve on.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from allcomers.server import control_pipe
from allcomers.server.control_pipe import SupervisorEnd, WorkerEnd
from allcomers.server.worker import MERCY
from allcomers.system.accept_balance import WorkerSlot, WorkerSlots
from allcomers.system.signals import blocked_signals

_logger = logging.getLogger("allcomers.supervisor")

STEADY: Final = 5.0
"""Seconds after which a worker that dies is replaced at once; one that dies sooner, later and later."""

BACK_OFF: Final = (0.1, 30.0)
"""Seconds before the second replacement in a row, doubled for each that follows; and the most."""

RETRY: Final = 1.0
"""Seconds before fork(2) is tried again, when it failed."""

NEVER: Final = float("inf")

RELOAD: Final = "the reload"
"""Why a worker is replaced that is well, but older than the options or the app."""


class Worker:
    """A process that was started.

    slot    its part of the peers
    ready    bool: does it serve?
    replace  why another is to take its place; "" for not
    leaving  when it will be killed, if it was told to go; else NEVER
    ping_pending    bool: was it asked for a word, and has not answered?
    silent   seconds since then
    """

    __slots__ = ("born", "control", "leaving", "pid", "ping_pending", "ready", "replace", "silent", "slot")

    def __init__(self, pid: int, control: SupervisorEnd, slot: WorkerSlot, born: float) -> None:
        self.pid = pid
        self.control = control
        self.slot = slot
        self.born = born
        self.ready = False
        self.replace = ""
        self.leaving = NEVER
        self.ping_pending = False
        self.silent = 0.0

    @property
    def stays(self) -> bool:
        return self.leaving == NEVER


class Workers:
    """All workers, by their pids.

    serve     what a new process does: its exit status. Called in the child, with signals withheld.
    wanted    how many
    name      what one is called in the log
    patience  seconds that one has to finish what it has begun, when it is told to drain

    all        the workers
    scheme     of the addresses, once a worker has told
    all_ready      bool: have as many served at once as were wanted? From then on who dies is replaced
    failure    the exit status of one that could not begin before that; else 0
    on_hold    bool: start nobody
    """

    def __init__(
        self, serve: Callable[[WorkerSlot, WorkerEnd], int], wanted: int, patience: float, name: str = "worker"
    ) -> None:
        self.wanted = wanted
        self.patience = patience
        self.scheme = ""
        self.all_ready = False
        self.failure = 0
        self.on_hold = False
        self.slots = WorkerSlots()
        self.all: dict[int, Worker] = {}
        self._serve = serve
        self._name = name
        self._failures = 0  # workers in a row that died soon
        self._resume = 0.0  # when to start the next

    # ------------------------------------------------------------ who is there

    @property
    def staying(self) -> list[Worker]:
        """Those that have not been told to go, the oldest first."""
        return [worker for worker in self.all.values() if worker.stays]

    @property
    def is_settled(self) -> bool:
        """Are there as many as are wanted, all ready, and nobody to be replaced?"""
        staying = self.staying
        return len(staying) == self.wanted and all(worker.ready and not worker.replace for worker in staying)

    def due(self) -> float:
        """When attend() has something to do, if nothing happens before."""
        times = [worker.leaving for worker in self.all.values()]
        if self._resume and not self.on_hold:
            times.append(self._resume)
        return min(times, default=NEVER)

    # ------------------------------------------------------------ coming and going

    def reconcile(self, now: float) -> None:
        """Start who is missing, dismiss who is too many, kill who does not go."""
        self._kill_late(now)
        for worker in self._surplus():
            self.stop(worker)
        if self._resume and now >= self._resume:
            self._resume = 0.0
        while not self._resume and not self.on_hold and self._is_short():
            try:
                self._start()
            except OSError as error:  # no processes, descriptors or memory left: those who are there serve on
                self._resume = now + RETRY
                _logger.error("no worker can be started: %s; another try in %g s", error.strerror, RETRY)
        self.all_ready = self.all_ready or sum(worker.ready for worker in self.all.values()) >= self.wanted

    def _kill_late(self, now: float) -> None:
        for worker in self.all.values():
            if now >= worker.leaving:
                _logger.warning("%s %d did not stop in time and is killed", self._name, worker.pid)
                _kill(worker.pid, signal.SIGKILL)
                worker.leaving = now + MERCY

    def _is_short(self) -> bool:
        """Is another worker wanted, now?"""
        staying = self.staying
        old = [worker for worker in staying if worker.replace]
        # One more than wanted: the new one is ready before an old one goes.
        return len(staying) < self.wanted + (1 if old else 0) and self._may_start(staying, old)

    def _may_start(self, staying: list[Worker], old: list[Worker]) -> bool:
        """One goes ahead and finds out whether the app can be loaded; to replace others, each waits for the last."""
        if old:
            return all(worker.ready for worker in staying)
        return self.all_ready or not staying or any(worker.ready for worker in staying)

    def _surplus(self) -> list[Worker]:
        """Who is to go: as many of the old ones as are not needed any more; where there are none, the latest."""
        staying = self.staying
        old = [worker for worker in staying if worker.replace]
        if not old:
            return staying[self.wanted :]
        return old[: max(0, sum(worker.ready for worker in staying) - self.wanted)]

    def _start(self) -> None:
        control, end = control_pipe.new()
        slot = self.slots.acquire()
        try:
            with blocked_signals():
                pid = os.fork()
                if pid == 0:
                    control.close()
                    self._be_worker(slot, end)
        except OSError:
            self.slots.release(slot)
            control.close()
            end.close()
            raise
        end.close()
        self.all[pid] = Worker(pid, control, slot, monotonic())

    def _be_worker(self, slot: WorkerSlot, end: WorkerEnd) -> NoReturn:
        """In the child: serve, then exit; never return into the supervisor's code."""
        status = 1
        try:
            for worker in self.all.values():  # theirs must end with the supervisor, not with us
                worker.control.close()
            status = self._serve(slot, end)
        except BaseException:
            _logger.critical("the worker failed", exc_info=True)
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # threads that still run an app's call are not waited for

    def stop(self, worker: Worker, signum: int = signal.SIGTERM) -> None:
        """Tell it to go: with TERM it finishes what it has begun."""
        # Who does not serve yet has nothing to finish, and may be far from reading its orders.
        patience = self.patience if signum == signal.SIGTERM and worker.ready else 0.0
        worker.leaving = monotonic() + patience + MERCY
        _kill(worker.pid, signum)

    # ------------------------------------------------------------ what becomes of them

    def receive(self, worker: Worker) -> None:
        """It has a word for us."""
        for word, what in worker.control.messages():
            worker.ping_pending, worker.silent = False, 0.0
            if word == control_pipe.READY:
                worker.ready = True
                self.scheme = what
                _logger.debug("%s %d is ready", self._name, worker.pid)
            elif word == control_pipe.REPLACE and worker.stays and not worker.replace:
                worker.replace = what
                _logger.info("%s %d is to be replaced: %s", self._name, worker.pid, what)

    def reap(self) -> None:
        """Some have ended."""
        for worker in list(self.all.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self.all[pid]
                self.slots.release(worker.slot)
                worker.control.close()
                if worker.stays:
                    self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: Worker, code: int) -> None:
        """A worker has ended of itself: how soon is there another, or is there none?"""
        how = ending(code)
        if not self.all_ready:  # the first ones could not begin: so would not the next
            self.failure = code if code > 0 else 1
            return
        if not worker.ready and not worker.replace and self._give_up_reload(how):
            return  # an old one, of a reload before, tells nothing of the new code
        soon = monotonic() - worker.born < STEADY
        self._failures = self._failures + 1 if soon else 0
        delay = min(BACK_OFF[1], BACK_OFF[0] * 2 ** (self._failures - 2)) if self._failures > 1 else 0.0
        self._resume = monotonic() + delay
        when = f"in {delay:g} s" if delay else "now"
        _logger.error("%s %d %s; another starts %s", self._name, worker.pid, how, when)

    def _give_up_reload(self, how: str) -> bool:
        """Was there a reload? Then those that it was to replace stay."""
        old = [worker for worker in self.all.values() if worker.replace == RELOAD and worker.stays]
        for worker in old:
            worker.replace = ""
        if old:
            _logger.error("the new worker %s before it served: the reload is given up, the old ones stay", how)
        return bool(old)

    def kill_hung(self, worker: Worker) -> None:
        """It hangs: have it write down where, and end."""
        text = "%s %d has not answered for %.0f s: it hangs, and is replaced; it was at:"
        _logger.error(text, self._name, worker.pid, worker.silent)
        self.stop(worker, signal.SIGABRT)  # faulthandler(3) of the worker writes its stacks

    # ------------------------------------------------------------ for all

    def replace_all(self) -> int:
        """Another for each, one after the other; how many are replaced."""
        old = self.staying
        for worker in old:
            worker.replace = worker.replace or RELOAD
        self.on_hold = False
        self._resume = 0.0
        self._failures = 0
        return len(old)

    def leave(self, signum: int) -> None:
        """Tell all to go, and start nobody any more."""
        self.on_hold = True
        for worker in self.all.values():
            self.stop(worker, signum)

    def ping(self) -> None:
        """Have all look at what the tally tells."""
        for worker in self.all.values():
            worker.control.ping()

    def signal(self, signum: int) -> None:
        for worker in self.all.values():
            _kill(worker.pid, signum)


def _kill(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def ending(code: int) -> str:
    """How a process ended, from its exit code: less than 0 is a signal."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have none
        return f"was killed by signal {-code}"
