"""The workers: as many processes as wanted are started; one that dies, hangs or must be recycled is replaced.

A replacement always starts first, and the old worker stops only once the new one is ready: the number of workers that
serve never falls below the number wanted. Whatever keeps a new one from starting, the old ones go on.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, KeysView
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from allcomers.server import control_pipe, error_log
from allcomers.server.control_pipe import END_MARGIN, KILL_MARGIN, SupervisorEnd, WorkerEnd
from allcomers.server.hooks.hooks import NO_HOOKS, LifeHooks
from allcomers.server.supervisor.demand.worker_count import WorkerCount
from allcomers.server.supervisor.exit_status import ending
from allcomers.system.accept_balance import WorkerSlot, WorkerSlots
from allcomers.system.processes import descendants
from allcomers.system.signals import DRAIN, QUIT, blocked_signals, ends_by

_logger = logging.getLogger("allcomers.supervisor")

STEADY: Final = 5.0
"""Seconds after which a worker that dies is replaced at once; after an earlier death, BACK_OFF applies."""

BACK_OFF: Final = (0.1, 30.0)
"""Seconds before the second replacement in a row, doubled for each that follows; and the maximum."""

RETRY: Final = 1.0
"""Seconds until the next fork(2) after one that failed."""

NEVER: Final = float("inf")

SETTLE: Final = 0.5
"""Seconds before a worker is replaced that a signal told to stop: mostly the whole group got it, and the supervisor's
own is on its way."""

RELOAD: Final = "the reload"
"""The reason to replace a worker that is well, but older than the options or the app."""


class Worker:
    """A process that was started.

    slot          its share of the peers
    ready         bool: it serves
    replace       the reason to replace it; "" for none
    told          when to replace it, because a signal, and no order, told it to stop; else NEVER
    leaving       when it will be killed, after stop(); else NEVER
    ping_pending  bool: it has not answered the last ping
    silent        seconds without an answer
    """

    __slots__ = ("born", "control", "leaving", "pid", "ping_pending", "ready", "replace", "silent", "slot", "told")

    def __init__(self, pid: int, control: SupervisorEnd, slot: WorkerSlot, born: float) -> None:
        self.pid = pid
        self.control = control
        self.slot = slot
        self.born = born
        self.ready = False
        self.replace = ""
        self.told = NEVER
        self.leaving = NEVER
        self.ping_pending = False
        self.silent = 0.0

    @property
    def stays(self) -> bool:
        return self.leaving == NEVER


class Workers:
    """All workers, by process id.

    serve      runs in a new process, with signals blocked, and ends it
    wanted     how many workers serve, or a WorkerRange
    patience   seconds that a worker has for its requests when it must drain
    name       the word for one in the log
    hooks      returns what to call at a fork, and at a worker's end

    count      how many of them serve, and may
    all        the workers
    scheme     of the addresses, once a worker has reported it
    all_ready  bool: as many as wanted have served at once. From then on one that dies is replaced
    failure    the exit status of one that failed to start before that; else 0
    gave_up    how the new worker ended for which the last reload was given up; else ""
    died       how many ended by themselves, once all were ready
    replaced   how many were replaced, but for a reload
    on_hold    bool: start none
    leaving    bool: all must stop
    """

    def __init__(
        self,
        serve: Callable[[WorkerSlot, WorkerEnd], NoReturn],
        wanted: int,
        patience: float,
        name: str = "worker",
        hooks: Callable[[], LifeHooks] = lambda: NO_HOOKS,
    ) -> None:
        self.count = WorkerCount(wanted, lambda now, before: self._hooks().scaled(now, before))
        self.patience = patience
        self.scheme = ""
        self.all_ready = False
        self.failure = 0
        self.gave_up = ""
        self.died = 0
        self.replaced = 0
        self.on_hold = False
        self.leaving = False
        self.slots = WorkerSlots()
        self.all: dict[int, Worker] = {}
        self._serve = serve
        self._name = name
        self._hooks = hooks
        self._settle = SETTLE
        self._early_deaths = 0  # in a row
        self._resume = 0.0  # when to start the next

    # ------------------------------------------------------------ state

    @property
    def staying(self) -> list[Worker]:
        """The workers that need not stop, the oldest first."""
        return [worker for worker in self.all.values() if worker.stays]

    @property
    def pids(self) -> KeysView[int]:
        return self.all.keys()

    @property
    def is_settled(self) -> bool:
        """Whether there are as many as wanted, all ready, and none to be replaced."""
        staying = self.staying
        return len(staying) == self.count.wanted and all(worker.ready and not worker.replace for worker in staying)

    def due(self) -> float:
        """Return the time at which reconcile() has work, if nothing happens before."""
        times = [min(worker.leaving, worker.told) for worker in self.all.values()]
        if self._resume and not self.on_hold:
            times.append(self._resume)
        return min(times, default=NEVER)

    # ------------------------------------------------------------ starting and stopping

    def reconcile(self, now: float) -> None:
        """Start workers that are missing, stop those that are too many, kill those that did not stop in time."""
        self.slots.restore()
        self._kill_late(now)
        for worker in self.staying:
            if now >= worker.told:
                worker.told = NEVER
                self._replace(worker, "a signal told it to stop")
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
        self.all_ready = self.all_ready or sum(worker.ready for worker in self.all.values()) >= self.count.wanted

    def _kill_late(self, now: float) -> None:
        for worker in self.all.values():
            if now >= worker.leaving:
                _logger.warning("%s %d did not stop in time and is killed", self._name, worker.pid)
                _kill_at_once(worker.pid)
                worker.leaving = now + KILL_MARGIN

    def _is_short(self) -> bool:
        """Return whether to start a worker now."""
        staying = self.staying
        old = [worker for worker in staying if worker.replace]
        # One more than wanted: the new one is ready before an old one stops.
        return len(staying) < self.count.wanted + (1 if old else 0) and self._may_start(staying, old)

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
            return staying[self.count.wanted :]
        return old[: max(0, sum(worker.ready for worker in staying) - self.count.wanted)]

    def _start(self) -> None:
        control, end = control_pipe.new()
        slot = self.slots.acquire()
        self._hooks().before_fork(slot.place)
        try:
            with blocked_signals():
                pid = os.fork()
                if pid == 0:
                    self._be_worker(slot, control, end)
        except OSError:
            self.slots.release(slot)
            control.close()
            end.close()
            raise
        end.close()
        self.all[pid] = Worker(pid, control, slot, monotonic())

    def _be_worker(self, slot: WorkerSlot, control: SupervisorEnd, end: WorkerEnd) -> NoReturn:
        """Serve in the child, then exit; never return into the supervisor's code."""
        try:
            control.close()
            for worker in self.all.values():  # these pipes must close with the supervisor, not with this process
                worker.control.close()
            self._serve(slot, end)
        except BaseException:  # before there was anything of the app
            _logger.critical("the worker failed", exc_info=True)
        finally:
            error_log.flush()
            os._exit(1)

    def stop(self, worker: Worker, signum: int = signal.SIGTERM) -> None:
        """Order a worker to stop, and kill it later if it does not end. At TERM it finishes its requests.

        It obeys the order; the signal is for what the app may have set for it, and comes first: after the order the
        app may be gone. A worker whose app has given the signal its default action back would end by it, in the midst
        of its requests, and gets the order alone.
        """
        patience = self.patience if signum == signal.SIGTERM else 0.0
        # A worker that does not serve yet has no requests and no app to shut down, and may not read its signals.
        needed = patience + END_MARGIN if worker.ready else 0.0
        worker.leaving = monotonic() + needed + KILL_MARGIN
        worker.told = NEVER
        if signum == signal.SIGABRT or not ends_by(worker.pid, signum):
            _kill(worker.pid, signum)
        worker.control.order(DRAIN if signum == signal.SIGTERM else QUIT)

    # ------------------------------------------------------------ messages and deaths

    def receive(self, worker: Worker) -> None:
        """Handle the messages of a worker. They may be anything that an app which took it over makes up."""
        for kind, text in worker.control.messages():
            worker.ping_pending, worker.silent = False, 0.0
            if kind == control_pipe.BROKEN:
                _logger.error("%s %d sent %s, as no worker does, and is killed", self._name, worker.pid, text)
                _kill_at_once(worker.pid)
            elif kind == control_pipe.READY and not worker.ready:
                worker.ready = True
                self.scheme = text
                _logger.debug("%s %d is ready", self._name, worker.pid)
            elif kind == control_pipe.REPLACE:
                self._replace(worker, text)
            elif kind == control_pipe.TOLD and worker.stays and not worker.replace:
                worker.told = min(worker.told, monotonic() + self._settle)

    def _replace(self, worker: Worker, reason: str) -> None:
        if worker.stays and not worker.replace:
            worker.replace = reason
            _logger.info("%s %d is to be replaced: %s", self._name, worker.pid, reason)

    def reap(self) -> None:
        """Collect the exit status of each worker that has ended."""
        for worker in list(self.all.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self.all[pid]
                self.slots.release(worker.slot)
                worker.control.close()
                self._hooks().worker_ended(pid, worker.slot.place)
                self.replaced += not worker.stays and worker.replace not in ("", RELOAD)
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
        self.died += 1
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
            self.gave_up = how
            _logger.error("the new worker %s before it served: the reload is given up, the old ones stay", how)
        return bool(old)

    def kill_hung(self, worker: Worker) -> None:
        """Make a worker that hangs write its stacks to the log, and end."""
        text = "%s %d has not answered for %.0f s: it hangs, and is replaced; it was at:"
        _logger.error(text, self._name, worker.pid, worker.silent)
        descendants.remember(worker.pid)
        self.stop(worker, signal.SIGABRT)  # the worker's faulthandler writes its stacks

    # ------------------------------------------------------------ all workers

    def replace_all(self) -> int:
        """Replace each worker, one after another; return how many."""
        old = self.staying
        for worker in old:
            worker.replace = worker.replace or RELOAD
        self.gave_up = ""
        self.on_hold = False
        self._resume = 0.0
        self._early_deaths = 0
        return len(old)

    def leave(self, signum: int) -> None:
        """Stop all workers, and start none any more."""
        self.on_hold = self.leaving = True
        for worker in self.all.values():
            self.stop(worker, signum)

    def leave_soon(self) -> None:
        """Have each response close its connection. No worker is replaced any more because of a signal."""
        self._settle = NEVER
        self.slots.leave_soon()
        for worker in self.all.values():
            worker.told = NEVER
            worker.control.order(control_pipe.PING)  # makes it read its slot's flags

    def spread(self) -> None:
        """Have clients of the workers that have most connect anew, for one that has few."""
        ready = {worker.slot: worker for worker in self.staying if worker.ready and worker.slot.place}
        for slot in self.slots.spread(list(ready)):
            ready[slot].control.order(control_pipe.PING)  # makes it read its slot

    def reopen_logs(self, log: int) -> None:
        """Have all workers reopen their log: as the descriptor `log`, or each by itself if that is -1.

        They get the signal, too, for logs of the app.
        """
        for worker in self.all.values():
            worker.control.pass_log(log)
            if not ends_by(worker.pid, signal.SIGUSR1):
                _kill(worker.pid, signal.SIGUSR1)


def _kill_at_once(pid: int) -> None:
    """Kill a worker that cannot end the processes of its app any more: others do (orphans.py)."""
    descendants.remember(pid)
    _kill(pid, signal.SIGKILL)


def _kill(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
