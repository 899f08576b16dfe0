"""A worker: one process that loads the target, and runs the model until it must stop.

The supervisor forks it with the listeners open. The worker reports its state through its end of the control pipes, and
the end of one of them shows that the supervisor is gone: nobody could stop the worker any more, so it drains.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from allcomers import models
from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.protocol.body import Body
from allcomers.server import error_log, systemd
from allcomers.server.assembly import client_limit_of, ledger_of, listen_now, report_dropped, routes_of, serving_of
from allcomers.server.control_pipe import (
    ALIVE,
    APP_SHUTDOWN,
    END_MARGIN,
    KILL_MARGIN,
    PING,
    READY,
    REOPEN,
    TOLD,
    WorkerEnd,
)
from allcomers.server.job import Job, account
from allcomers.server.recycling import RecyclePolicy
from allcomers.server.tls.keys import Keys, Tickets, certificates, read_now, take_password
from allcomers.system import descriptors
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.memory.collector import paused
from allcomers.system.native.primitives import select as native_select
from allcomers.system.native.primitives import set_signal
from allcomers.system.processes import forks
from allcomers.system.processes.shutdown import Shutdown
from allcomers.system.signals import Signals, release

if TYPE_CHECKING:
    from allcomers.models.driver.serving import Endpoint, Serving
    from allcomers.server.access_log import AccessLog
    from allcomers.server.hooks.hooks import LifeHooks

_logger = logging.getLogger("allcomers.worker")


def work(job: Job, listeners: list[socket.socket], slot: WorkerSlot, control: WorkerEnd) -> NoReturn:
    """Serve until a signal ends it; then end the process as Python ends, in time. Call with signals blocked.

    An error of the start goes to standard error, in one line after the app's own traceback.
    """
    signals = Signals(job.config.graceful_timeout, control.orders)
    forks.install(
        lambda: (*signals.filenos(), *control.filenos(), *(listener.fileno() for listener in listeners)), slot.be_copy
    )
    with suppress(OSError):  # the current folder is gone
        job = job._replace(config=job.config.from_here())
    status = 1
    try:
        status = _work(job, listeners, slot, control, signals)
    except BaseException:
        if not forks.is_copy:
            _logger.critical("the worker failed", exc_info=True)
    if forks.is_copy:
        forks.leave()
    _end(signals, status)


def _work(job: Job, listeners: list[socket.socket], slot: WorkerSlot, control: WorkerEnd, signals: Signals) -> int:
    """Serve until a signal ends it; return the exit status."""
    with paused():
        from allcomers.server.endpoint import endpoint, settle_patches

    try:
        file = open_log(job.config)
        _handle_signals(signals, control)
        release()
        _end_as_orphan(signals, control, job.config.graceful_timeout)
        if job.config.descriptors:
            descriptors.set_limit(job.config.descriptors)
        keys = become_worker(job.config, job.tickets)
        log = access_log_of(job.config, file)
        clients = client_limit_of(job.config, slot)
        ledger = Body.ledger = ledger_of(job.config, slot)
        app = _load(job, signals, slot)
        with paused():
            replaced = control.request_replacement
            made = partial(endpoint, listeners=listeners, routes=routes_of(job.diagnostics, slot))
            served = made(app, job.config, log, keys, replaced, slot.counters, clients, ledger)
            settle_patches(job.config, served)
            serving = serving_of(job.config, served, listeners, signals, slot, replaced)
        _begin(served, signals)
        error_log.settle_root()
        if job.diagnostics is not None and slot.place:
            from allcomers.server.diagnostics import worker as diagnostics

            diagnostics.begin(job.diagnostics, slot.place, served.life.events if served.life is not None else None)
        if control.has_ended():
            return 0
        listen_now(listeners, job.config.backlog)
    except OperatorError as error:
        error_log.complain(error)
        return error.exit_code
    if log is not None:
        signals.on_order(REOPEN, lambda: log.reopen(control.passed()))
    _answer_pings(signals, control, RecyclePolicy(job.config, lambda: slot.answered, control.request_replacement))
    control.report(READY, served.scheme)
    _serve(serving, job.hooks)
    return 0


def _load(job: Job, signals: Signals, slot: WorkerSlot) -> Any:
    """Load the target, in a process that its model has prepared, and look after the signals from then on."""
    models.get(job.config.model or models.best()).prepare()
    job.hooks.worker_start(slot.place)
    app = job.load()
    job.hooks.worker_loaded(slot.place, app)
    signals.look_after(_report_taken)
    return app


def _begin(served: Endpoint, signals: Signals) -> None:
    """Start an async app. Raises AppError."""
    if served.life is not None:
        served.life.begin(signals.listen)
        signals.restore()


def _serve(serving: Serving, hooks: LifeHooks) -> None:
    gc.collect()
    gc.freeze()  # spares each later collection all objects that live as long as the process
    serving.endpoint.serve(serving)
    report_dropped(serving)
    if serving.endpoint.life is not None:
        serving.endpoint.life.end(serving.signals.deadline, APP_SHUTDOWN)
    if not forks.is_copy:
        hooks.worker_stop(serving.slot.place)


def _end(signals: Signals, status: int) -> NoReturn:
    """End this process, with all that the app has left in it."""

    def wait(seconds: float) -> None:
        if native_select([signals], [], [], seconds)[0]:
            signals.read()

    Shutdown(lambda: signals.deadline if signals.draining else 0.0, APP_SHUTDOWN, error_log.flush, status).run(wait)


# ------------------------------------------------------------ signals


def _handle_signals(signals: Signals, control: WorkerEnd) -> None:
    """Obey the supervisor's orders.

    All signals are for the supervisor, but a terminal, timeout(1) and systemd send them to workers, too: one that left
    by itself would be missed before the supervisor knows that all is to end. So a worker only reports that it was told.
    """

    def told(signum: signal.Signals, stop: Callable[[], object]) -> None:
        if control.has_ended():
            stop()
        elif not signals.draining:
            control.report(TOLD, signum.name)

    for signum, stop in (
        (signal.SIGTERM, signals.drain),
        (signal.SIGINT, signals.quit),
        (signal.SIGQUIT, signals.quit),
    ):
        signals.on(signum, partial(told, signum, stop))
    signals.ignore(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def _report_taken() -> None:
    _logger.warning(
        "the app took the signals for itself, as an event loop's add_signal_handler() does: they reach the server "
        "again, and are passed on to the app"
    )


def _answer_pings(signals: Signals, control: WorkerEnd, policy: RecyclePolicy) -> None:
    """Answer each ping of the supervisor, and check the recycling limits with it."""

    def answer() -> None:
        control.report(ALIVE)
        policy.check()

    signals.on_order(PING, answer)


def _end_as_orphan(signals: Signals, control: WorkerEnd, patience: float) -> None:
    """Drain when the supervisor is gone, and end in time even if the main thread is stuck.

    The signal's handler sets an alarm for which there is no handler. It runs between two steps of Python, also while a
    call of the app sleeps or loops, but not within a library that returns to Python only when it is done.
    """

    def set_alarm() -> None:
        if control.has_ended():
            set_signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, patience + END_MARGIN + KILL_MARGIN)

    def drain() -> None:
        if control.has_ended():
            signals.drain()

    signals.on(signal.SIGIO, drain, at_once=set_alarm)
    control.watch()


# ------------------------------------------------------------ the process around the app


def become_worker(config: Config, tickets: Tickets | None = None) -> Keys:
    """Prepare this process for the app. Return the keys of its certificates, read already if root is given up."""
    with suppress(RuntimeError, ValueError, OSError):  # standard error is no file
        faulthandler.enable()  # leaves a stack after a crash, and after the ABRT for a worker that hangs
    error_log.prepare_root(config.log_level)
    for variable in systemd.VARIABLES:
        os.environ.pop(variable, None)
    if config.reload:
        sys.dont_write_bytecode = True  # Python confuses a changed file of the same size and second with the cached one
    password = take_password()
    if not (config.user or config.group):
        return partial(certificates, config, password=password, tickets=tickets)
    keys = read_now(config, password, tickets)
    new = account(config)
    if new is not None:
        new.become()
    return keys


def log_path(config: Config) -> str:
    """Return the path of the access log; "-" for standard output, "off" for none."""
    return config.access_log or ("-" if sys.stdout.isatty() else "off")


def open_log(config: Config) -> int:
    """Open the access log as root, before that is given up. Return -1 if a worker opens it with its own rights."""
    path = log_path(config)
    if path in ("off", "-"):
        return -1
    from allcomers.server.access_log import STANDARD

    new = account(config)
    return -1 if new is None or path in STANDARD else new.open_log(path)


def access_log_of(config: Config, file: int, default: str = "") -> AccessLog | None:
    """Return the access log; `default` is its path where none was given. Raises ConfigError."""
    path = config.access_log or default or log_path(config)
    if path == "off":
        return None
    from allcomers.server.access_log import AccessLog

    return AccessLog(path, config.access_log_format, fd=file, warn=_logger.warning)
