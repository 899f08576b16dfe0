"""The supervisor: opens the listeners, has workers serve, and does what signals ask.

It serves nobody and loads no app, so nothing that an app does can bring it down. It opens the listeners and keeps them:
workers come and go, and who connects meanwhile waits in the backlog for the next.

    TERM        drain: serve who waits already, finish what is begun, exit; with --drain-delay, a while later
    INT, QUIT   stop quickly
    HUP         read the options again, replace the workers one after another
    USR2        have a new server take over, with new code of allcomers too
    TTIN, TTOU  one worker more, one less
    USR1        reopen the logs

Who the workers are, and how many, is the business of `workers`; whether they live, of `heartbeat`.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.server import error_log
from allcomers.server.control_pipe import WorkerEnd
from allcomers.server.supervisor.handover import NewServer, OldServer
from allcomers.server.supervisor.listeners import Listeners
from allcomers.server.supervisor.liveness import OFTEN, Heartbeat
from allcomers.server.supervisor.workers import NEVER, Workers, ending
from allcomers.server.systemd import Notifier
from allcomers.server.worker import Job, complain, log_path, work
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.signals import Signals

if TYPE_CHECKING:
    from allcomers.server.supervisor.admin_process import AdminProcess
    from allcomers.server.supervisor.pid_file import PidFile
    from allcomers.server.supervisor.reloader import Reloader

_logger = logging.getLogger("allcomers.supervisor")

FIXED = ("bind", "pid", "reload", "reload_dir", "admin")
"""Options that cannot change by HUP."""


class Supervisor:
    """Runs until told to stop. One a process, in its main thread.

    renew  reads the options again, for HUP. Raises OperatorError.
    start  the folder that the process was started in
    """

    def __init__(self, job: Job, renew: Callable[[], Job], start: str = "") -> None:
        self._job = job
        self._renew = renew
        self._start = start
        self._status = 0
        self._listeners = Listeners()
        self._workers = Workers(self._serve, job.config.workers, job.config.graceful_timeout)
        self._notifier = Notifier(os.environ)
        self._heartbeat = self._new_heartbeat(job.config)
        self._old_server = OldServer(os.environ)
        self._new_server: NewServer | None = None
        self._pid: PidFile | None = None
        self._reloader: Reloader | None = None
        self._admin: AdminProcess | None = None
        self._announced = False  # that we listen
        self._reloading = False
        self._drain_at = NEVER  # when the delay is over

    def run(self) -> int:
        """The exit status: 0, or that of a first worker that could not begin. Raises OperatorError."""
        try:
            self._open()
            self._handle_signals()
            # What is here stays, and workers share its memory for as long as nobody writes to it: so a collection of
            # theirs is not to look at it (gc.freeze). PERF: 5 of 80 ms from exec to the first answer.
            gc.freeze()
            while not self._is_over:
                self._turn(monotonic())
                if not self._is_over:
                    self._wait()
        finally:
            self._clean_up()
        self._signals.end()
        return self._status

    def _open(self) -> None:
        config = self._job.config
        _prepare_account(config)
        if config.pid:
            from allcomers.server.supervisor.pid_file import PidFile

            self._pid = PidFile(config.pid)
            self._pid.claim(self._old_server.pid)
        if config.reload:
            from allcomers.server.supervisor.reloader import Reloader

            self._reloader = Reloader(config.reload_dir, self._job.files)
        self._listeners.open(config.bind, config.backlog, self._old_server.sockets)
        if config.admin:
            from allcomers.server.supervisor.admin_process import AdminProcess

            board = self._workers.slots.board
            self._admin = AdminProcess(config, board, self._old_server.sockets, self._leave_to_admin)

    def _handle_signals(self) -> None:
        self._signals = signals = Signals(self._job.config.graceful_timeout)
        signals.on(signal.SIGTERM, self._leave)
        signals.on(signal.SIGINT, self._quit)
        signals.on(signal.SIGQUIT, self._quit)
        signals.on(signal.SIGHUP, self._reload)
        signals.on(signal.SIGUSR2, self._upgrade)
        signals.on(signal.SIGTTIN, lambda: self._scale(1), each=True)
        signals.on(signal.SIGTTOU, lambda: self._scale(-1), each=True)
        signals.on(signal.SIGUSR1, self._reopen_logs)
        signals.on(signal.SIGCHLD, self._reap)

    def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        if self._admin is not None:
            self._admin.end(is_last=self._announced or not self._old_server.pid)
        if self._pid is not None:
            self._pid.remove()

    @property
    def _is_over(self) -> bool:
        workers = self._workers
        return self._signals.draining and not (workers.all or workers.failure or self._new_server is not None)

    # ------------------------------------------------------------ one turn

    def _turn(self, now: float) -> None:
        """Do what is due."""
        if self._workers.failure:
            self._fail()
        for worker in self._heartbeat.ping(now, self._workers.all.values()):
            self._workers.kill_hung(worker)
        self._workers.reconcile(now)
        if self._workers.all_ready and not self._announced:
            self._announce()
        if self._reloading and self._workers.is_settled:
            self._reloading = False
            self._notifier.ready(self._summary(), os.getpid())
        if now >= self._notifier.due:
            self._notifier.beat(now, any(worker.ready and not worker.silent for worker in self._workers.staying))
        if now >= self._drain_at:
            self._drain()
        if self._admin is not None:
            self._admin.publish(self._stage, self._workers, now)
            if self._announced or not self._old_server.pid:  # as long as a predecessor serves, it tells how it is
                self._admin.turn(now)

    @property
    def _stage(self) -> int:
        if self._signals.draining:
            return counters.DRAINING
        if self._drain_at < NEVER:
            return counters.LEAVING
        return counters.SERVING if self._announced else counters.STARTING

    def _wait(self) -> None:
        """For an order, a worker's word, or the next thing that is due."""
        actions: dict[int, Callable[[], object]] = {}
        for worker in self._workers.all.values():
            actions[worker.control.fileno()] = partial(self._workers.receive, worker)
        if self._new_server is not None:
            actions[self._new_server.fileno()] = self._receive_new_server
        if self._reloader is not None:
            actions[self._reloader.fileno()] = self._receive_reloader
        if self._admin is not None:
            actions.update(self._admin.actions())
        actions.pop(-1, None)
        actions[self._signals.fileno()] = self._signals.read  # last, for to reap a worker closes its pipe
        poll = select.poll()
        for fd in actions:
            poll.register(fd, select.POLLIN)
        events = {fd for fd, _ in poll.poll(self._timeout())}
        for fd, action in actions.items():
            if fd in events:
                action()

    def _timeout(self) -> float | None:
        """Milliseconds to the next thing that is due."""
        due = min(self._workers.due(), self._heartbeat.due, self._notifier.due, self._drain_at)
        if self._admin is not None:
            due = min(due, self._admin.timeout())
        return max(0.0, due - monotonic()) * 1000 + 1 if due < NEVER else None

    def _announce(self) -> None:
        """Say that we listen, now that all do."""
        self._announced = True
        if self._pid is not None:
            try:
                self._pid.write()
            except OperatorError as error:
                complain(error)
        for name in self._listeners.names(self._workers.scheme):
            print(f"Listening at: {name} (pid {os.getpid()})", file=sys.stderr)
        for name in self._admin.names if self._admin is not None else ():
            print(f"Admin at: {name}", file=sys.stderr)
        sys.stderr.flush()
        if self._old_server.pid:
            self._old_server.stop()  # which tells the service manager, for as yet it alone is believed
            self._notifier.watch()
        else:
            self._notifier.ready(self._summary(), os.getpid())

    def _summary(self) -> str:
        workers = self._workers.wanted
        return f"{workers} worker{'s' if workers > 1 else ''}: {', '.join(self._listeners.names(self._workers.scheme))}"

    def _fail(self) -> None:
        """A first worker could not begin."""
        status, self._workers.failure = self._workers.failure, 0
        if self._reloader is not None and self._reloader.fileno() >= 0:
            self._workers.on_hold = True
            _logger.error("nothing is served yet; another try when a file changes")
            return
        self._status = status
        self._quit()

    # ------------------------------------------------------------ in a worker's process

    def _serve(self, slot: WorkerSlot, control: WorkerEnd) -> int:
        if self._admin is not None:
            self._admin.close_here()
        self._leave_to_child()
        return work(self._job, self._listeners.all, slot, control)

    def _leave_to_admin(self) -> None:
        for worker in self._workers.all.values():
            worker.control.close()
        self._listeners.close()
        self._leave_to_child()

    def _leave_to_child(self) -> None:
        self._signals.forget()
        if self._new_server is not None:
            self._new_server.close()
        if self._reloader is not None:
            self._reloader.close_here()
        self._old_server.forget()

    # ------------------------------------------------------------ leaving

    def _leave(self) -> None:
        """TERM: at once, or when the delay is over; a second one is in a hurry."""
        delay = self._job.config.drain_delay
        if not delay or self._drain_at < NEVER:
            self._drain()
            return
        self._drain_at = monotonic() + delay
        _logger.info("leaving in %g s; until then, each answer says goodbye", delay)
        self._notifier.stopping(f"leaving in {delay:g} s")
        self._workers.slots.leave_soon()
        self._workers.ping()

    def _drain(self) -> None:
        if not self._signals.draining:
            self._signals.drain()
            self._shut_out("finishing what is begun")
            self._end(signal.SIGTERM)

    def _quit(self) -> None:
        if not self._signals.draining:
            self._shut_out("stopping")
        self._signals.quit()
        self._end(signal.SIGINT)

    def _shut_out(self, status: str) -> None:
        """Let nobody new come; who waits is served before the workers close. Not where another has our sockets, too."""
        if self._old_server.pid and not self._announced:
            return
        self._notifier.stopping(status)
        if self._new_server is None:
            self._listeners.shut_out()

    def _hand_over(self, pid: int) -> None:
        """Another server accepts from our sockets: leave them as they are."""
        self._signals.drain()
        self._notifier.ready("a new server has taken over", pid)
        if self._admin is not None:
            self._admin.end(is_last=False)  # who asks now is to hear of the other
            self._admin = None
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        self._drain_at = NEVER
        self._notifier.due = NEVER
        self._listeners.close()
        self._workers.leave(signum)
        if self._new_server is not None:  # it does not serve yet, and is not wanted any more
            os.kill(self._new_server.pid, signum)

    # ------------------------------------------------------------ reload

    def _reload(self) -> None:
        if self._signals.draining:
            return
        self._reloading = self._announced  # until the staff is settled
        if self._reloading:
            self._notifier.reloading("the workers are replaced")
        try:
            job = self._renew()
            _prepare_account(job.config)
        except OperatorError as error:
            complain(error)
            _logger.error("the options stay as they were")
            return
        self._take(job)
        count = self._workers.replace_all()
        what = "its worker is replaced" if count == 1 else f"{count} workers are replaced one after another"
        _logger.info("reloading: %s", what)

    def _take(self, job: Job) -> None:
        """The options from now on."""
        for name in FIXED:
            if getattr(job.config, name) != getattr(self._job.config, name):
                flag = name.replace("_", "-")
                _logger.warning("--%s cannot change by HUP: it stays as it was; USR2 takes it", flag)
        if job.config.workers != self._job.config.workers:
            self._workers.wanted = job.config.workers
        self._workers.patience = job.config.graceful_timeout
        error_log.setup(job.config.log_level)
        self._heartbeat = self._new_heartbeat(job.config)
        self._job = job
        if self._admin is not None:
            self._admin.renew(job.config)

    def _new_heartbeat(self, config: Config) -> Heartbeat:
        has_limits = config.max_requests or config.max_memory
        return Heartbeat(config.hang_timeout, min(OFTEN if has_limits else NEVER, self._notifier.every / 2))

    def _receive_reloader(self) -> None:
        assert self._reloader is not None
        name = self._reloader.changed()
        if name:
            _logger.info("%s has changed", name)
            self._reload()

    # ------------------------------------------------------------ a new server

    def _upgrade(self) -> None:
        if self._signals.draining or self._drain_at < NEVER:
            return
        if self._new_server is not None:
            _logger.warning("a new server is starting already: process %d", self._new_server.pid)
            return
        try:
            sockets = self._listeners.filenos() + (self._admin.filenos() if self._admin is not None else [])
            self._new_server = NewServer(sockets, self._start, self._signals.forget)
        except OSError as error:
            _logger.error("no new server can be started: %s; this one serves on", error.strerror)
            return
        _logger.info("a new server starts, to take over: process %d", self._new_server.pid)

    def _receive_new_server(self) -> None:
        """It serves, or never will: in that case it is reaped, and that tells how it ended."""
        successor = self._new_server
        assert successor is not None
        if successor.serves() and not self._signals.draining:
            self._new_server = None
            _logger.info("process %d has taken over; this one finishes what it has begun", successor.pid)
            self._hand_over(successor.pid)

    def _reap(self) -> None:
        self._workers.reap()
        if self._admin is not None:
            self._admin.reap()
        if self._new_server is not None:
            pid, status = os.waitpid(self._new_server.pid, os.WNOHANG)
            if pid:
                self._new_server.close()
                self._new_server = None
                if not self._signals.draining:
                    text = "the new server, process %d, %s before it served: this one serves on"
                    _logger.error(text, pid, ending(os.waitstatus_to_exitcode(status)))

    # ------------------------------------------------------------ other orders

    def _scale(self, by: int) -> None:
        self._workers.wanted = max(1, self._workers.wanted + by)
        _logger.info("workers wanted: %d", self._workers.wanted)

    def _reopen_logs(self) -> None:
        with suppress(OperatorError):  # its user is no more: the worker says what it cannot open
            _prepare_account(self._job.config)
        self._workers.signal(signal.SIGUSR1)


def _prepare_account(config: Config) -> None:
    """See that --user and --group are there, and that they will be able to log. Raises ConfigError."""
    if config.user or config.group:
        from allcomers.server import privileges

        new = privileges.account_of(config.user, config.group)
        path = log_path(config)
        if new is not None and path not in ("-", "off"):
            new.own(path)
