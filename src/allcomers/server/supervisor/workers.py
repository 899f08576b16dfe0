"""The workers: as many processes as wanted are started; one that dies, hangs or must be recycled is replaced.

A replacement always starts first, and the old worker stops only once the new one is ready: the number of workers that
serve never falls below the number wanted. Whatever keeps a new one from starting, the old ones go on.
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
from allcomers.server.control_pipe import APP_SHUTDOWN, KILL_MARGIN, SupervisorEnd, WorkerEnd
from allcomers.server.supervisor.exit_status import ending
from allcomers.system.accept_balance import WorkerSlot, WorkerSlots
from allcomers.system.signals import blocked_signals

_logger = logging.getLogger("allcomers.supervisor")

STEADY: Final = 5.0
"""Seconds after which a worker that dies is replaced at once; after an earlier death, BACK_OFF applies."""

BACK_OFF: Final = (0.1, 30.0)
"""Seconds before the second replacement in a row, doubled for each that follows; and the maximum."""

RETRY: Final = 1.0
"""Seconds until the next fork(2) after one that failed."""

NEVER: Final = float("inf")

RELOAD: Final = "the reload"
"""The reason to replace a worker that is well, but older than the options or the app."""


class Worker:
    """A process that was started.

    slot          its share of the peers
    ready         bool: it serves
    replace       the reason to replace it; "" for none
    leaving       when it will be killed, after stop(); else NEVER
    ping_pending  bool: it has not answered the last ping
    silent        seconds without an answer
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
    """All workers, by process id.

    serve      runs in a new process, with signals blocked, and returns its exit status
    wanted     how many workers serve
    patience   seconds that a worker has for its requests when it must drain
    name       the word for one in the log

    all        the workers
    scheme     of the addresses, once a worker has reported it
    all_ready  bool: as many as wanted have served at once. From then on one that dies is replaced
    failure    the exit status of one that failed to start before that; else 0
    on_hold    bool: start none
    leaving    bool: all must stop
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
        self.leaving = False
        self.slots = WorkerSlots()
        self.all: dict[int, Worker] = {}
        self._serve = serve
        self._name = name
        self._early_deaths = 0  # in a row
        self._resume = 0.0  # when to start the next

    # ------------------------------------------------------------ state

    @property
    def staying(self) -> list[Worker]:
        """The workers that need not stop, the oldest first."""
        return [worker for worker in self.all.values() if worker.stays]

    @property
    def is_settled(self) -> bool:
        """Whether there are as many as wanted, all ready, and none to be replaced."""
        staying = self.staying
        return len(staying) == self.wanted and all(worker.ready and not worker.replace for worker in staying)

    def due(self) -> float:
        """Return the time at which reconcile() has work, if nothing happens before."""
        times = [worker.leaving for worker in self.all.values()]
        if self._resume and not self.on_hold:
            times.append(self._resume)
        return min(times, default=NEVER)

    def scale(self, by: int) -> None:
        """Change the number of workers wanted; at least one stays."""
        self.wanted = max(1, self.wanted + by)
        _logger.info("workers wanted: %d", self.wanted)

    # ------------------------------------------------------------ starting and stopping

    def reconcile(self, now: float) -> None:
        """Start workers that are missing, stop those that are too many, kill those that did not stop in time."""
        self._kill_late(now)
        for worker in self._surplus():
            self.stop(worker)
        if self._resume and now >= self._resume:
            self._resume = 0.0
        while not self._resume and not self.on_hold and self._is_short():
            try:
                self._start()
            except OSError as error:  # no processes, descriptors or memory left: the other workers go on
                self._resume = now + RETRY
                _logger.error("no worker can be started: %s; another try in %g s", error.strerror, RETRY)
        self.all_ready = self.all_ready or sum(worker.ready for worker in self.all.values()) >= self.wanted

    def _kill_late(self, now: float) -> None:
        for worker in self.all.values():
            if now >= worker.leaving:
                _logger.warning("%s %d did not stop in time and is killed", self._name, worker.pid)
                _kill(worker.pid, signal.SIGKILL)
                worker.leaving = now + KILL_MARGIN

    def _is_short(self) -> bool:
        """Return whether to start a worker now."""
        staying = self.staying
        old = [worker for worker in staying if worker.replace]
        # One more than wanted: the new one is ready before an old one stops.
        return len(staying) < self.wanted + (1 if old else 0) and self._may_start(staying, old)

    def _may_start(self, staying: list[Worker], old: list[Worker]) -> bool:
        """Return whether a worker may start before others are ready.

        The first one starts alone, to find out whether the app can be loaded. Replacements start one after another.
        """
        if old:
            return all(worker.ready for worker in staying)
        return self.all_ready or not staying or any(worker.ready for worker in staying)

    def _surplus(self) -> list[Worker]:
        """Return the workers to stop: old ones that have been replaced; without any, the newest beyond `wanted`."""
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
        """Serve in the child, then exit; never return into the supervisor's code."""
        status = 1
        try:
            for worker in self.all.values():  # these pipes must close with the supervisor, not with this process
                worker.control.close()
            status = self._serve(slot, end)
        except BaseException:
            _logger.critical("the worker failed", exc_info=True)
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # without waiting for threads in a call of the app

    def stop(self, worker: Worker, signum: int = signal.SIGTERM) -> None:
        """Send a signal to stop, and kill the worker later if it does not end. At TERM it finishes its requests."""
        patience = self.patience if signum == signal.SIGTERM else 0.0
        # A worker that does not serve yet has no requests and no app to shut down, and may not read its signals.
        needed = patience + 2 * APP_SHUTDOWN if worker.ready else 0.0
        worker.leaving = monotonic() + needed + KILL_MARGIN
        _kill(worker.pid, signum)

    # ------------------------------------------------------------ messages and deaths

    def receive(self, worker: Worker) -> None:
        """Handle the messages of a worker."""
        for kind, text in worker.control.messages():
            worker.ping_pending, worker.silent = False, 0.0
            if kind == control_pipe.READY:
                worker.ready = True
                self.scheme = text
                _logger.debug("%s %d is ready", self._name, worker.pid)
            elif kind == control_pipe.REPLACE and worker.stays and not worker.replace:
                worker.replace = text
                _logger.info("%s %d is to be replaced: %s", self._name, worker.pid, text)

    def reap(self) -> None:
        """Collect the exit status of each worker that has ended."""
        for worker in list(self.all.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self.all[pid]
                self.slots.release(worker.slot)
                worker.control.close()
                if worker.stays:
                    self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: Worker, code: int) -> None:
        """Decide when to replace a worker that ended by itself, if at all."""
        how = ending(code)
        if not self.all_ready:  # the first ones failed to start, and so would the next
            self.failure = code if code > 0 else 1
            return
        # The death of an old worker, of a reload before, shows nothing about the new code.
        if not worker.ready and not worker.replace and self._give_up_reload(how):
            return
        early = monotonic() - worker.born < STEADY
        self._early_deaths = self._early_deaths + 1 if early else 0
        delay = min(BACK_OFF[1], BACK_OFF[0] * 2 ** (self._early_deaths - 2)) if self._early_deaths > 1 else 0.0
        self._resume = monotonic() + delay
        when = f"in {delay:g} s" if delay else "now"
        _logger.error("%s %d %s; another starts %s", self._name, worker.pid, how, when)

    def _give_up_reload(self, how: str) -> bool:
        """Keep the workers that a reload was to replace; return whether there are any."""
        old = [worker for worker in self.all.values() if worker.replace == RELOAD and worker.stays]
        for worker in old:
            worker.replace = ""
        if old:
            _logger.error("the new worker %s before it served: the reload is given up, the old ones stay", how)
        return bool(old)

    def kill_hung(self, worker: Worker) -> None:
        """Make a worker that hangs write its stacks to the log, and end."""
        text = "%s %d has not answered for %.0f s: it hangs, and is replaced; it was at:"
        _logger.error(text, self._name, worker.pid, worker.silent)
        self.stop(worker, signal.SIGABRT)  # the worker's faulthandler writes its stacks

    # ------------------------------------------------------------ all workers

    def replace_all(self) -> int:
        """Replace each worker, one after another; return how many."""
        old = self.staying
        for worker in old:
            worker.replace = worker.replace or RELOAD
        self.on_hold = False
        self._resume = 0.0
        self._early_deaths = 0
        return len(old)

    def leave(self, signum: int) -> None:
        """Stop all workers, and start none any more."""
        self.on_hold = self.leaving = True
        for worker in self.all.values():
            self.stop(worker, signum)

    def ping(self) -> None:
        """Make all workers read the flags of their slots."""
        for worker in self.all.values():
            worker.control.ping()

    def signal(self, signum: int) -> None:
        for worker in self.all.values():
            _kill(worker.pid, signum)


def _kill(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
