"""The supervisor: opens the listeners, has workers serve, and does what signals ask.

It serves nobody and loads no app, so nothing that an app does can bring it down. It opens the listeners and keeps them:
workers come and go, and who connects meanwhile waits in the backlog for the next.

    TERM        drain: serve who waits already, finish what is begun, exit; with --drain-delay, a while later
    INT, QUIT   stop quickly
    HUP         read the options again, replace the workers one after another
    USR2        have a new server take over, with new code of allcomers too
    TTIN, TTOU  one worker more, one less
    USR1        reopen the logs

Who the workers are, and how many, is the business of `staff`; whether they live, of `pulse`.
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
from allcomers.server.control_pipe import Lifeline
from allcomers.server.supervisor.handover import Predecessor, Successor
from allcomers.server.supervisor.listeners import Listeners
from allcomers.server.supervisor.liveness import OFTEN, Pulse
from allcomers.server.supervisor.workers import NEVER, Staff, ending
from allcomers.server.systemd import Notifier
from allcomers.server.worker import Job, complain, log_path, work
from allcomers.system import counters
from allcomers.system.accept_balance import Share
from allcomers.system.signals import Orders

if TYPE_CHECKING:
    from allcomers.server.supervisor.admin_process import Office
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
        self._staff = Staff(self._serve, job.config.workers, job.config.graceful_timeout)
        self._notifier = Notifier(os.environ)
        self._pulse = self._new_pulse(job.config)
        self._predecessor = Predecessor(os.environ)
        self._successor: Successor | None = None
        self._pid: PidFile | None = None
        self._reloader: Reloader | None = None
        self._office: Office | None = None
        self._announced = False  # that we listen
        self._reloading = False
        self._drain_at = NEVER  # when the delay is over

    def run(self) -> int:
        """The exit status: 0, or that of a first worker that could not begin. Raises OperatorError."""
        try:
            self._open()
            self._obey()
            # What is here stays, and workers share its memory for as long as nobody writes to it: so a collection of
            # theirs is not to look at it (gc.freeze). PERF: 5 of 80 ms from exec to the first answer.
            gc.freeze()
            while not self._is_over:
                self._turn(monotonic())
                if not self._is_over:
                    self._wait()
        finally:
            self._clean_up()
        self._orders.end()
        return self._status

    def _open(self) -> None:
        config = self._job.config
        _prepare_identity(config)
        if config.pid:
            from allcomers.server.supervisor.pid_file import PidFile

            self._pid = PidFile(config.pid)
            self._pid.claim(self._predecessor.pid)
        if config.reload:
            from allcomers.server.supervisor.reloader import Reloader

            self._reloader = Reloader(config.reload_dir, self._job.files)
        self._listeners.open(config.bind, config.backlog, self._predecessor.sockets)
        if config.admin:
            from allcomers.server.supervisor.admin_process import Office

            board = self._staff.tally.board
            self._office = Office(config, board, self._predecessor.sockets, self._leave_to_office)

    def _obey(self) -> None:
        self._orders = orders = Orders(self._job.config.graceful_timeout)
        orders.on(signal.SIGTERM, self._leave)
        orders.on(signal.SIGINT, self._quit)
        orders.on(signal.SIGQUIT, self._quit)
        orders.on(signal.SIGHUP, self._reload)
        orders.on(signal.SIGUSR2, self._upgrade)
        orders.on(signal.SIGTTIN, lambda: self._scale(1), each=True)
        orders.on(signal.SIGTTOU, lambda: self._scale(-1), each=True)
        orders.on(signal.SIGUSR1, self._reopen_logs)
        orders.on(signal.SIGCHLD, self._reap)

    def _clean_up(self) -> None:
        if self._reloader is not None:
            self._reloader.close()
        if self._office is not None:
            self._office.end(is_last=self._announced or not self._predecessor.pid)
        if self._pid is not None:
            self._pid.remove()

    @property
    def _is_over(self) -> bool:
        staff = self._staff
        return self._orders.draining and not (staff.all or staff.failure or self._successor is not None)

    # ------------------------------------------------------------ one turn

    def _turn(self, now: float) -> None:
        """Do what is due."""
        if self._staff.failure:
            self._fail()
        for worker in self._pulse.beat(now, self._staff.all.values()):
            self._staff.give_up(worker)
        self._staff.attend(now)
        if self._staff.begun and not self._announced:
            self._announce()
        if self._reloading and self._staff.is_settled:
            self._reloading = False
            self._notifier.ready(self._summary(), os.getpid())
        if now >= self._notifier.due:
            self._notifier.beat(now, any(worker.ready and not worker.silent for worker in self._staff.staying))
        if now >= self._drain_at:
            self._drain()
        if self._office is not None:
            self._office.publish(self._stage, self._staff, now)
            if self._announced or not self._predecessor.pid:  # as long as a predecessor serves, it tells how it is
                self._office.turn(now)

    @property
    def _stage(self) -> int:
        if self._orders.draining:
            return counters.DRAINING
        if self._drain_at < NEVER:
            return counters.LEAVING
        return counters.SERVING if self._announced else counters.STARTING

    def _wait(self) -> None:
        """For an order, a worker's word, or the next thing that is due."""
        actions: dict[int, Callable[[], object]] = {}
        for worker in self._staff.all.values():
            actions[worker.line.fileno()] = partial(self._staff.hear, worker)
        if self._successor is not None:
            actions[self._successor.fileno()] = self._hear_successor
        if self._reloader is not None:
            actions[self._reloader.fileno()] = self._hear_reloader
        if self._office is not None:
            actions.update(self._office.actions())
        actions.pop(-1, None)
        actions[self._orders.fileno()] = self._orders.read  # last, for to reap a worker closes its pipe
        poll = select.poll()
        for fd in actions:
            poll.register(fd, select.POLLIN)
        events = {fd for fd, _ in poll.poll(self._timeout())}
        for fd, action in actions.items():
            if fd in events:
                action()

    def _timeout(self) -> float | None:
        """Milliseconds to the next thing that is due."""
        due = min(self._staff.due(), self._pulse.due, self._notifier.due, self._drain_at)
        if self._office is not None:
            due = min(due, self._office.timeout())
        return max(0.0, due - monotonic()) * 1000 + 1 if due < NEVER else None

    def _announce(self) -> None:
        """Say that we listen, now that all do."""
        self._announced = True
        if self._pid is not None:
            try:
                self._pid.write()
            except OperatorError as error:
                complain(error)
        for name in self._listeners.names(self._staff.scheme):
            print(f"Listening at: {name} (pid {os.getpid()})", file=sys.stderr)
        for name in self._office.names if self._office is not None else ():
            print(f"Admin at: {name}", file=sys.stderr)
        sys.stderr.flush()
        if self._predecessor.pid:
            self._predecessor.dismiss()  # which tells the service manager, for as yet it alone is believed
            self._notifier.watch()
        else:
            self._notifier.ready(self._summary(), os.getpid())

    def _summary(self) -> str:
        workers = self._staff.wanted
        return f"{workers} worker{'s' if workers > 1 else ''}: {', '.join(self._listeners.names(self._staff.scheme))}"

    def _fail(self) -> None:
        """A first worker could not begin."""
        status, self._staff.failure = self._staff.failure, 0
        if self._reloader is not None and self._reloader.fileno() >= 0:
            self._staff.on_hold = True
            _logger.error("nothing is served yet; another try when a file changes")
            return
        self._status = status
        self._quit()

    # ------------------------------------------------------------ in a worker's process

    def _serve(self, share: Share, lifeline: Lifeline) -> int:
        if self._office is not None:
            self._office.close_here()
        self._leave_to_child()
        return work(self._job, self._listeners.all, share, lifeline)

    def _leave_to_office(self) -> None:
        for worker in self._staff.all.values():
            worker.line.close()
        self._listeners.close()
        self._leave_to_child()

    def _leave_to_child(self) -> None:
        self._orders.forget()
        if self._successor is not None:
            self._successor.close()
        if self._reloader is not None:
            self._reloader.close_here()
        self._predecessor.forget()

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
        self._staff.tally.leave_soon()
        self._staff.ask()

    def _drain(self) -> None:
        if not self._orders.draining:
            self._orders.drain()
            self._shut_out("finishing what is begun")
            self._end(signal.SIGTERM)

    def _quit(self) -> None:
        if not self._orders.draining:
            self._shut_out("stopping")
        self._orders.quit()
        self._end(signal.SIGINT)

    def _shut_out(self, status: str) -> None:
        """Let nobody new come; who waits is served before the workers close. Not where another has our sockets, too."""
        if self._predecessor.pid and not self._announced:
            return
        self._notifier.stopping(status)
        if self._successor is None:
            self._listeners.shut_out()

    def _hand_over(self, pid: int) -> None:
        """Another server accepts from our sockets: leave them as they are."""
        self._orders.drain()
        self._notifier.ready("a new server has taken over", pid)
        if self._office is not None:
            self._office.end(is_last=False)  # who asks now is to hear of the other
            self._office = None
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        self._drain_at = NEVER
        self._notifier.due = NEVER
        self._listeners.close()
        self._staff.leave(signum)
        if self._successor is not None:  # it does not serve yet, and is not wanted any more
            os.kill(self._successor.pid, signum)

    # ------------------------------------------------------------ reload

    def _reload(self) -> None:
        if self._orders.draining:
            return
        self._reloading = self._announced  # until the staff is settled
        if self._reloading:
            self._notifier.reloading("the workers are replaced")
        try:
            job = self._renew()
            _prepare_identity(job.config)
        except OperatorError as error:
            complain(error)
            _logger.error("the options stay as they were")
            return
        self._take(job)
        count = self._staff.replace_all()
        what = "its worker is replaced" if count == 1 else f"{count} workers are replaced one after another"
        _logger.info("reloading: %s", what)

    def _take(self, job: Job) -> None:
        """The options from now on."""
        for name in FIXED:
            if getattr(job.config, name) != getattr(self._job.config, name):
                flag = name.replace("_", "-")
                _logger.warning("--%s cannot change by HUP: it stays as it was; USR2 takes it", flag)
        if job.config.workers != self._job.config.workers:
            self._staff.wanted = job.config.workers
        self._staff.patience = job.config.graceful_timeout
        error_log.setup(job.config.log_level)
        self._pulse = self._new_pulse(job.config)
        self._job = job
        if self._office is not None:
            self._office.renew(job.config)

    def _new_pulse(self, config: Config) -> Pulse:
        has_limits = config.max_requests or config.max_memory
        return Pulse(config.hang_timeout, min(OFTEN if has_limits else NEVER, self._notifier.every / 2))

    def _hear_reloader(self) -> None:
        assert self._reloader is not None
        name = self._reloader.changed()
        if name:
            _logger.info("%s has changed", name)
            self._reload()

    # ------------------------------------------------------------ a new server

    def _upgrade(self) -> None:
        if self._orders.draining or self._drain_at < NEVER:
            return
        if self._successor is not None:
            _logger.warning("a new server is starting already: process %d", self._successor.pid)
            return
        try:
            sockets = self._listeners.filenos() + (self._office.filenos() if self._office is not None else [])
            self._successor = Successor(sockets, self._start, self._orders.forget)
        except OSError as error:
            _logger.error("no new server can be started: %s; this one serves on", error.strerror)
            return
        _logger.info("a new server starts, to take over: process %d", self._successor.pid)

    def _hear_successor(self) -> None:
        """It serves, or never will: in that case it is reaped, and that tells how it ended."""
        successor = self._successor
        assert successor is not None
        if successor.serves() and not self._orders.draining:
            self._successor = None
            _logger.info("process %d has taken over; this one finishes what it has begun", successor.pid)
            self._hand_over(successor.pid)

    def _reap(self) -> None:
        self._staff.reap()
        if self._office is not None:
            self._office.reap()
        if self._successor is not None:
            pid, status = os.waitpid(self._successor.pid, os.WNOHANG)
            if pid:
                self._successor.close()
                self._successor = None
                if not self._orders.draining:
                    text = "the new server, process %d, %s before it served: this one serves on"
                    _logger.error(text, pid, ending(os.waitstatus_to_exitcode(status)))

    # ------------------------------------------------------------ other orders

    def _scale(self, by: int) -> None:
        self._staff.wanted = max(1, self._staff.wanted + by)
        _logger.info("workers wanted: %d", self._staff.wanted)

    def _reopen_logs(self) -> None:
        with suppress(OperatorError):  # its user is no more: the worker says what it cannot open
            _prepare_identity(self._job.config)
        self._staff.signal(signal.SIGUSR1)


def _prepare_identity(config: Config) -> None:
    """See that --user and --group are there, and that they will be able to log. Raises ConfigError."""
    if config.user or config.group:
        from allcomers.server import privileges

        new = privileges.find(config.user, config.group)
        path = log_path(config)
        if new is not None and path not in ("-", "off"):
            new.own(path)
