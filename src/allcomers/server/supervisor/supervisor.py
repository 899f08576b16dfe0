"""The supervisor: opens the listeners, keeps workers running, and obeys signals.

It serves no client and loads no app, so nothing that an app does can bring it down. It keeps the listeners open:
workers come and go, and a client that connects meanwhile waits in the backlog for the next one.

    TERM        drain: serve the backlog, finish the requests, exit; with --drain-delay, a while later
    INT, QUIT   stop quickly
    HUP         read the options again, replace the workers one after another
    USR2        have a new server take over, with new code of allcomers too
    TTIN, TTOU  one worker more, one less; of a range, as far as it goes
    USR1        reopen the logs

`workers` starts and ends the processes, `liveness` finds those that hang, `reload` and `handover` do HUP and USR2.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.server.control_pipe import APP_SHUTDOWN, KILL_MARGIN, WorkerEnd
from allcomers.server.job import Job, account, set_umask
from allcomers.server.supervisor.announcer import Announcer
from allcomers.server.supervisor.demand.scaler import Scaler
from allcomers.server.supervisor.handover import Handover, Inheritance, OldServer
from allcomers.server.supervisor.listeners import Listeners, Ready
from allcomers.server.supervisor.liveness import heartbeat
from allcomers.server.supervisor.reload import Reload
from allcomers.server.supervisor.workers import NEVER, Workers
from allcomers.server.systemd import Notifier
from allcomers.server.worker import open_log, work
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.processes import descendants, title
from allcomers.system.processes.orphans import Orphans
from allcomers.system.signals import DRAIN, QUIT, Signals

if TYPE_CHECKING:
    from allcomers.server.supervisor.admin_process import AdminProcess

_logger = logging.getLogger("allcomers.supervisor")


class Supervisor:
    """The supervisor. One for each process, in its main thread.

    renew  reads the options again, for HUP. Raises OperatorError.
    start  the folder in which the process was started
    """

    def __init__(self, job: Job, renew: Callable[[], Job], start: str = "") -> None:
        config = job.config
        self._status = 0
        self._has_started = False
        # Some ignore the order to end, and have something to do: multiprocessing's tracker removes shared memory.
        self._orphans = Orphans(APP_SHUTDOWN + KILL_MARGIN)
        self._listeners = Listeners()
        self._workers = Workers(self._serve, config.workers, config.graceful_timeout, hooks=lambda: self._reload.hooks)
        self.signals = Signals(config.graceful_timeout)
        self._notifier = Notifier(os.environ)
        self._heartbeat = heartbeat(config, self._notifier.every)
        self._old_server = OldServer(os.environ)
        self._workers.count.resume(self._old_server.workers)
        told = self._notifier, self._old_server, self._listeners, self._workers
        self._announcer = Announcer(*told, job)
        self._reload = Reload(job, renew, self._workers, self._announcer.reloading, self._apply)
        self._handover = Handover(start, self._hand_over)
        self._scaler = Scaler(self._workers.count, self._workers.slots.board, self._workers.spread, config)
        self._admin: AdminProcess | None = None
        self._drain_at = NEVER  # the end of --drain-delay

    def run(self, on_listening: Ready = lambda urls, port: None) -> int:
        """Serve until a signal ends it; return the exit status: 0, or that of a first worker that failed to start.

        on_listening  called when clients can connect

        Raises OperatorError.
        """
        self._on_listening = on_listening
        try:
            self._open()
            self._handle_signals()
            # The objects of this process stay, and workers share their memory as long as nobody writes to it: so a
            # collection must not touch them (gc.freeze). PERF: 5 of 80 ms from exec to the first response.
            gc.freeze()
            self._turn(monotonic())
            descendants.adopt_orphans()  # while the first worker loads the app
            while not self._is_over:
                self._turn(monotonic())
                if not self._is_over:
                    self._wait()
        finally:
            self._clean_up()
        self._announcer.stopped()
        self.signals.end()
        return self._status

    def _open(self) -> None:
        config = self._reload.config
        account(config)  # raises for unknown names
        set_umask(config)
        self._reload.hooks.start()
        self._has_started = True
        if config.pid:
            self._announcer.claim(config.pid)
        if config.reload:
            self._reload.watch()
        inherited = self._old_server.sockets
        self._listeners.open_all(config, inherited)
        if config.max_connections_per_client:
            self._workers.slots.count_clients()
        if config.admin:
            from allcomers.server.supervisor.admin_process import AdminProcess

            board = self._workers.slots.board
            self._admin = AdminProcess(config, board, inherited, self._leave_to_admin, work)
        if config.preload:
            self._reload.preload()

    def _handle_signals(self) -> None:
        signals = self.signals
        signals.on_order(DRAIN, self._leave)
        signals.on_order(QUIT, self._quit)
        signals.on(signal.SIGTERM, self._leave)
        signals.on(signal.SIGINT, self._quit)
        signals.on(signal.SIGQUIT, self._quit)
        signals.on(signal.SIGHUP, self._reload.run)
        signals.on(signal.SIGUSR2, self._start_upgrade)
        signals.on(signal.SIGTTIN, partial(self._workers.count.scale, 1), each=True)
        signals.on(signal.SIGTTOU, partial(self._workers.count.scale, -1), each=True)
        signals.on(signal.SIGUSR1, self._reopen_logs)
        signals.on(signal.SIGCHLD, self._reap)

    def _clean_up(self) -> None:
        self._reload.close()
        if self._admin is not None:
            self._admin.end(is_last=not self._old_server.pid)
        self._announcer.close()
        self._orphans.end_all(self._reap)
        if self._has_started:
            self._reload.hooks.stop()

    @property
    def _is_over(self) -> bool:
        workers = self._workers
        return self.signals.draining and not (workers.all or workers.failure or self._handover.is_running)

    # ------------------------------------------------------------ one turn

    def _turn(self, now: float) -> None:
        """Carry out all work that is due."""
        workers = self._workers
        if workers.failure:
            self._fail()
        for worker in self._heartbeat.ping(now, workers.all.values()):
            workers.kill_hung(worker)
        if now >= self._scale_at:
            members = [(worker.pid, worker.slot.place, worker.ready) for worker in workers.staying]
            self._scaler.turn(now, members, self._listeners.all)
        workers.reconcile(now)
        self._reload.turn(now)
        self._orphans.turn(now)
        if self._announcer.turn(self._admin.names if self._admin is not None else ()):
            self._on_listening(self._listeners.names(workers.scheme), self._listeners.port)
            self._reload.hooks.ready()
        if now >= self._notifier.due:
            self._notifier.beat(now, any(worker.ready and not worker.silent for worker in workers.staying))
        if now >= self._drain_at:
            self._drain()
        if self._admin is not None:
            self._admin.publish(self._stage, workers, (self._reload.state, self._reload.since), now)
            if not self._old_server.pid:  # until then the old server reports its state
                self._admin.turn(now)

    @property
    def _scale_at(self) -> float:
        """The time of the next look for the demand for workers, if their number may change by it now."""
        return self._scaler.due if self._stage == counters.SERVING and not self._workers.on_hold else NEVER

    @property
    def _stage(self) -> int:
        if self.signals.draining:
            return counters.DRAINING
        if self._drain_at < NEVER:
            return counters.LEAVING
        return counters.SERVING if self._announcer.done else counters.STARTING

    def _wait(self) -> None:
        """Wait for a signal, a message or the next time at which work is due, and handle each descriptor."""
        actions: dict[int, Callable[[], object]] = {}
        for worker in self._workers.all.values():
            actions[worker.control.fileno()] = partial(self._workers.receive, worker)
        actions[self._handover.fileno()] = self._handover.receive
        actions[self._reload.fileno()] = self._reload.receive
        if self._admin is not None:
            actions.update(self._admin.actions())
        actions.pop(-1, None)
        actions[self.signals.fileno()] = self.signals.read  # last, because reaping a worker closes its pipes
        poll = select.poll()
        for fd in actions:
            poll.register(fd, select.POLLIN)
        events = {fd for fd, _ in poll.poll(self._timeout())}
        for fd, action in actions.items():
            if fd in events:
                action()

    def _timeout(self) -> float | None:
        """Return the milliseconds until work is due; None if none will be."""
        due = min(self._workers.due(), self._heartbeat.due, self._notifier.due, self._reload.due, self._drain_at)
        due = min(due, self._orphans.due, self._scale_at)
        if self._admin is not None:
            due = min(due, self._admin.timeout())
        return max(0.0, due - monotonic()) * 1000 + 1 if due < NEVER else None

    def _fail(self) -> None:
        """Stop because a first worker failed to start; with --reload, wait for a change instead."""
        status, self._workers.failure = self._workers.failure, 0
        if self._reload.is_watching:
            self._workers.on_hold = True
            _logger.error("nothing is served yet; another try when a file changes")
            return
        self._status = status
        self._quit()

    # ------------------------------------------------------------ in a forked process

    def _serve(self, slot: WorkerSlot, control: WorkerEnd) -> NoReturn:
        title.name_process(title.WORKER)
        job = self._reload.job
        if self._admin is not None:
            self._admin.close_here()
            job = job._replace(diagnostics=self._admin.diagnostics)
        self._leave_to_child()
        work(job, self._listeners.all, slot, control)

    def _leave_to_admin(self) -> None:
        for worker in self._workers.all.values():
            worker.control.close()
        self._listeners.close()
        self._leave_to_child()

    def _leave_to_child(self) -> None:
        self.signals.forget()
        self._handover.close_here()
        self._reload.close_here()
        self._old_server.forget()

    # ------------------------------------------------------------ stopping

    def _leave(self) -> None:
        """Drain at TERM, or at the end of --drain-delay; a second TERM does not wait for that."""
        delay = self._reload.config.drain_delay
        if not delay or self._drain_at < NEVER:
            self._drain()
            return
        self._drain_at = monotonic() + delay
        _logger.info("leaving in %g s; until then, each response closes its connection", delay)
        self._notifier.stopping(f"leaving in {delay:g} s")
        self._workers.leave_soon()

    def _drain(self) -> None:
        if not self.signals.draining:
            self.signals.drain()
            self._announcer.stopping("finishing the requests")
            self._shut_out("finishing the requests")
            self._end(signal.SIGTERM)

    def _quit(self) -> None:
        if not self.signals.draining:
            self._announcer.stopping("all connections are closed")
            self._shut_out("stopping")
        self.signals.quit()
        self._end(signal.SIGINT)

    def _shut_out(self, status: str) -> None:
        """Refuse new connections, unless another server has the sockets, too. Workers serve the backlog before they
        close."""
        if self._old_server.pid:
            return
        self._notifier.stopping(status)
        if not self._handover.is_running:
            self._listeners.shut_out()

    def _hand_over(self, pid: int) -> None:
        """Drain because another server accepts from the sockets, which stay as they are."""
        self.signals.drain()
        self._notifier.ready("a new server has taken over", pid)
        if self._admin is not None:
            self._admin.end(is_last=False)  # the new server has an admin's process of its own
            self._admin = None
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        self._drain_at = NEVER
        self._notifier.due = NEVER
        self._listeners.close()
        self._workers.leave(signum)
        self._handover.abandon(signum)

    # ------------------------------------------------------------ other signals

    def _apply(self, config: Config) -> None:
        """Use new options, which Reload has read."""
        set_umask(config)
        self._heartbeat = heartbeat(config, self._notifier.every)
        if config.max_connections_per_client:
            self._workers.slots.count_clients()
        self._scaler.apply(config)
        if self._admin is not None:
            self._admin.renew(config)

    def _start_upgrade(self) -> None:
        if not self.signals.draining and self._drain_at == NEVER:
            self._reload.hooks.before_upgrade()
            sockets = self._listeners.filenos() + (self._admin.filenos() if self._admin is not None else [])
            inheritance = Inheritance(sockets, self._workers.count.wanted)
            self._handover.start(inheritance, self.signals.forget)
            self._orphans.spare(self._handover.pids)

    def _reap(self) -> None:
        admin = () if self._admin is None else (self._admin,)
        self._orphans.reap((self._workers, *admin, self._handover, self._reload))
        self._orphans.end_left()

    def _reopen_logs(self) -> None:
        log = -1
        with suppress(OperatorError):  # if the user is gone, the workers log that they cannot open the file
            log = open_log(self._reload.config)
        self._workers.reopen_logs(log)
        if log >= 0:
            os.close(log)
