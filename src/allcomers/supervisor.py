"""The supervisor: starts the workers, replaces one that dies, and does what signals ask.

It serves nobody and loads no app, so nothing that an app does can bring it down. It opens the listeners and keeps them:
workers come and go, and who connects meanwhile waits in the backlog for the next.

    TERM        drain: serve who waits already, finish what is begun, exit
    INT, QUIT   stop quickly
    HUP         read the options again, replace the workers one after another
    TTIN, TTOU  one worker more, one less
    USR1        reopen the logs
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from allcomers import sockets
from allcomers.errors import OperatorError
from allcomers.orders import Orders, withheld
from allcomers.tally import Share, Tally
from allcomers.worker import Job, complain, work

_logger = logging.getLogger("allcomers.supervisor")

STEADY: Final = 5.0
"""Seconds after which a worker that dies is replaced at once; one that dies sooner, later and later."""

BACK_OFF: Final = (0.1, 30.0)
"""Seconds before the second replacement in a row, doubled for each that follows; and the most."""

RETRY: Final = 1.0
"""Seconds before fork(2) is tried again, when it failed."""

MERCY: Final = 1.0
"""Seconds that a worker has beyond its deadline before it is killed."""


@dataclass(slots=True)
class Worker:
    """A process that was started.

    pipe     where it tells that it serves; that it is open tells the worker that we are here; -1 if it ended untold
    ready    bool: does it serve?
    share    its part of the peers
    leaving  when it will be killed, if it was told to go; else 0
    """

    pid: int
    pipe: int
    share: Share
    born: float
    ready: bool = False
    leaving: float = 0.0


class Supervisor:
    """Runs until told to stop. One a process, in its main thread.

    renew  reads the options again, for HUP. Raises OperatorError.
    """

    def __init__(self, job: Job, renew: Callable[[], Job]) -> None:
        self._job = job
        self._renew = renew
        self._wanted = job.config.workers
        self._workers: dict[int, Worker] = {}
        self._old: list[Worker] = []  # to be replaced, after HUP
        self._failures = 0  # workers in a row that died soon
        self._resume = 0.0  # when to start the next
        self._told = False  # that we listen
        self._scheme = ""
        self._status = 0
        self._listeners: list[socket.socket] = []
        self._tally = Tally()

    def run(self) -> int:
        """The exit status: 0, or that of a first worker that could not begin. Raises ListenError, ConfigError."""
        for text in self._job.config.bind:
            self._listeners += sockets.listen(sockets.Bind(text), self._job.config.backlog)
        self._orders = orders = Orders(self._job.config.graceful_timeout)
        orders.on(signal.SIGTERM, self._drain)
        orders.on(signal.SIGINT, self._quit)
        orders.on(signal.SIGQUIT, self._quit)
        orders.on(signal.SIGHUP, self._reload)
        orders.on(signal.SIGTTIN, lambda: self._scale(1))
        orders.on(signal.SIGTTOU, lambda: self._scale(-1))
        orders.on(signal.SIGUSR1, lambda: self._signal_all(signal.SIGUSR1))
        orders.on(signal.SIGCHLD, self._reap)
        while self._workers or not orders.draining:
            self._staff()
            self._tell()
            self._wait()
        for listener in self._listeners:
            if listener.family == socket.AF_UNIX:
                Path(os.fsdecode(listener.getsockname())).unlink(missing_ok=True)
        return self._status

    # ------------------------------------------------------------ waiting

    def _wait(self) -> None:
        """Until an order, a worker's word, or the next thing that is due."""
        poll = select.poll()
        poll.register(self._orders.fileno(), select.POLLIN)
        starting = {worker.pipe: worker for worker in self._workers.values() if worker.pipe >= 0 and not worker.ready}
        for fd in starting:
            poll.register(fd, select.POLLIN)
        events = {fd for fd, _ in poll.poll(self._timeout())}
        for fd, worker in starting.items():
            if fd in events:
                self._heard_of(worker)
        if self._orders.fileno() in events:  # last, for to reap a worker closes its pipe
            self._orders.read()

    def _timeout(self) -> float | None:
        """Milliseconds to the next thing that is due."""
        times = [worker.leaving for worker in self._workers.values() if worker.leaving]
        if self._resume and not self._orders.draining:
            times.append(self._resume)
        return max(0.0, min(times) - monotonic()) * 1000 + 1 if times else None

    def _heard_of(self, worker: Worker) -> None:
        scheme = os.read(worker.pipe, 16).decode("ascii")
        if not scheme:
            os.close(worker.pipe)
            worker.pipe = -1
            return  # it died: SIGCHLD tells how
        worker.ready = True
        self._scheme = scheme
        _logger.debug("worker %d is ready", worker.pid)

    def _tell(self) -> None:
        """Say that we listen, once all do."""
        if self._told or sum(worker.ready for worker in self._workers.values()) < self._wanted:
            return
        self._told = True
        for listener in self._listeners:
            print(f"Listening at: {sockets.name(listener, self._scheme)} (pid {os.getpid()})", file=sys.stderr)
        sys.stderr.flush()

    # ------------------------------------------------------------ workers

    def _staff(self) -> None:
        """As many workers as are wanted: start one, dismiss one, kill one that does not go."""
        now = monotonic()
        for worker in self._workers.values():
            if worker.leaving and now >= worker.leaving:
                _logger.warning("worker %d did not stop in time and is killed", worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
                worker.leaving = now + MERCY
        if self._orders.draining:
            return
        for worker in self._surplus():
            self._dismiss(worker, signal.SIGTERM)
        if self._resume and now >= self._resume:
            self._resume = 0.0
        while not self._resume and self._is_short():
            try:
                self._start()
            except OSError as error:  # no processes, descriptors or memory left: those who are there serve on
                self._resume = now + RETRY
                _logger.error("no worker can be started: %s; another try in %g s", error.strerror, RETRY)

    def _is_short(self) -> bool:
        """Is another worker wanted, now?"""
        staying = [worker for worker in self._workers.values() if not worker.leaving]
        # After HUP one more than wanted: the new one is ready before an old one goes.
        return len(staying) < self._wanted + (1 if self._old else 0) and self._may_start(staying)

    def _surplus(self) -> list[Worker]:
        """Who is to go; after HUP, as many of the old ones as are not needed any more."""
        staying = [worker for worker in self._workers.values() if not worker.leaving]
        if not self._old:
            return staying[self._wanted :]
        leavers = self._old[: max(0, sum(worker.ready for worker in staying) - self._wanted)]
        self._old = self._old[len(leavers) :]
        return leavers

    def _may_start(self, staying: list[Worker]) -> bool:
        """One goes ahead and finds out whether the app can be loaded; after HUP each waits for the one before."""
        if self._old:
            return all(worker.ready for worker in staying)
        return self._told or not staying or any(worker.ready for worker in staying)

    def _start(self) -> None:
        reader, writer = os.pipe()
        share = self._tally.take_place()
        try:
            with withheld():
                pid = os.fork()
                if pid == 0:
                    os.close(reader)
                    self._be_worker(share, writer)
        except OSError:
            self._tally.give_back(share)
            os.close(reader)
            os.close(writer)
            raise
        os.close(writer)
        self._workers[pid] = Worker(pid, reader, share, monotonic())

    def _be_worker(self, share: Share, pipe: int) -> None:
        """In the child: serve, then exit; never return into the supervisor's code."""
        status = 1
        try:
            self._orders.forget()
            for worker in self._workers.values():  # theirs must end with the supervisor, not with us
                if worker.pipe >= 0:
                    os.close(worker.pipe)
            status = work(self._job, self._listeners, share, pipe)
        except BaseException:
            _logger.critical("the worker failed", exc_info=True)
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # threads that still run an app's call are not waited for

    def _dismiss(self, worker: Worker, signum: int) -> None:
        if worker.pid in self._workers:
            # Who does not serve yet has nothing to finish, and may be far from reading its orders.
            patience = self._job.config.graceful_timeout if signum == signal.SIGTERM and worker.ready else 0.0
            worker.leaving = monotonic() + patience + MERCY
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signum)

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self._workers[pid]
                self._tally.give_back(worker.share)
                if worker.pipe >= 0:
                    os.close(worker.pipe)
                is_old = worker in self._old
                if is_old:
                    self._old.remove(worker)
                if not worker.leaving:
                    self._replace(worker, os.waitstatus_to_exitcode(status), is_old)

    def _replace(self, worker: Worker, code: int, is_old: bool) -> None:
        """A worker has died of itself: how soon is there another, or is there none?"""
        how = f"was killed by {_name(-code)}" if code < 0 else f"ended with status {code}"
        if not self._told:  # the first ones could not begin: so would not the next
            self._status = code if code > 0 else 1
            self._quit()
            return
        if self._old and not worker.ready and not is_old:  # an old one, of a HUP before, tells nothing of the new code
            _logger.error("the new worker %s before it served: the reload is given up, the old ones stay", how)
            self._old.clear()
            return
        soon = monotonic() - worker.born < STEADY
        self._failures = self._failures + 1 if soon else 0
        delay = min(BACK_OFF[1], BACK_OFF[0] * 2 ** (self._failures - 2)) if self._failures > 1 else 0.0
        self._resume = monotonic() + delay
        _logger.error("worker %d %s; another starts %s", worker.pid, how, f"in {delay:g} s" if delay else "now")

    # ------------------------------------------------------------ orders

    def _drain(self) -> None:
        if not self._orders.draining:
            self._orders.drain()
            sockets.deafen(self._listeners)  # nobody new; who waits is served before the workers close
            self._leave(signal.SIGTERM)

    def _quit(self) -> None:
        self._orders.quit()
        self._leave(signal.SIGINT)

    def _leave(self, signum: int) -> None:
        for listener in self._listeners:
            if listener.family != socket.AF_UNIX:  # whose path is taken away at the end
                listener.close()
        self._listeners = [listener for listener in self._listeners if listener.fileno() >= 0]
        for worker in self._workers.values():
            self._dismiss(worker, signum)

    def _reload(self) -> None:
        try:
            job = self._renew()
        except OperatorError as error:
            complain(error)
            _logger.error("the options stay as they were")
            return
        if job.config.bind != self._job.config.bind:
            _logger.warning("--bind cannot change by HUP: still listening where it was")
        if job.config.workers != self._job.config.workers:
            self._wanted = job.config.workers
        self._job = job
        self._old = [worker for worker in self._workers.values() if not worker.leaving]
        _logger.info("reloading: %d workers are replaced one after another", len(self._old))

    def _scale(self, by: int) -> None:
        self._wanted = max(1, self._wanted + by)
        _logger.info("workers wanted: %d", self._wanted)

    def _signal_all(self, signum: int) -> None:
        for worker in self._workers.values():
            os.kill(worker.pid, signum)


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # most real-time signals have none
        return f"signal {signum}"
