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
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from allcomers import calls, models
from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.models.driver.serving import Serving
from allcomers.server import error_log, systemd
from allcomers.server.control_pipe import ALIVE, APP_SHUTDOWN, KILL_MARGIN, READY, WorkerEnd
from allcomers.server.recycling import RecyclePolicy
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.signals import Signals, ignore, release

if TYPE_CHECKING:
    from allcomers.models.driver.serving import Endpoint
    from allcomers.server.access_log import AccessLog
    from allcomers.server.keys import Keys

_logger = logging.getLogger("allcomers.worker")


class Job(NamedTuple):
    """The task of the supervisor's processes.

    load   makes the target; called in the worker, so that a reload finds the app's new code
    files  the files that options were read from: a change of one counts as a change of the app (--reload)
    """

    config: Config
    load: Callable[[], Any]
    files: tuple[str, ...] = ()


def work(job: Job, listeners: list[socket.socket], slot: WorkerSlot, control: WorkerEnd) -> int:
    """Serve until a signal ends it; return the exit status. Call with signals blocked.

    An error of the start goes to standard error, in one line after the app's own traceback.
    """
    from allcomers.server.endpoint import endpoint

    signals = Signals(job.config.graceful_timeout, control.signals)
    try:
        log = _access_log(job.config)
        _handle_signals(signals, log)
        release()
        _end_as_orphan(signals, control, job.config.graceful_timeout)
        keys = become_worker(job.config)
        served = endpoint(job.load(), job.config, log, keys, control.request_replacement, slot.counters)
        serving = _serving(job.config, served, listeners, signals, slot, control)
        if served.life is not None:
            served.life.begin(signals.listen)
        error_log.settle_root()
    except OperatorError as error:
        error_log.complain(error)
        return error.exit_code
    if control.has_ended():
        return 0
    _answer_pings(signals, control, RecyclePolicy(job.config, lambda: slot.answered, control.request_replacement))
    control.report(READY, served.scheme)
    gc.collect()
    gc.freeze()  # spares each later collection all objects that live as long as the process
    served.serve(serving)
    if served.life is not None:
        served.life.end(max(APP_SHUTDOWN, signals.deadline - monotonic()))
    return 0


def _serving(
    config: Config,
    endpoint: Endpoint,
    listeners: list[socket.socket],
    signals: Signals,
    slot: WorkerSlot,
    control: WorkerEnd,
) -> Serving:
    limit = 0.0 if endpoint.is_async else config.call_timeout
    model = config.model or ("asyncio" if endpoint.is_async else models.best())
    cells = slot.counters.cells
    cells[counters.MODEL] = 1 + list(models.TABLE).index(model)
    cells[counters.WHERE] = counters.WHERES.index(endpoint.calls)
    return Serving(
        endpoint=endpoint,
        listeners=listeners,
        calls=calls.make(endpoint.calls, config.threads, limit, control.request_replacement, slot.counters),
        signals=signals,
        slot=slot,
        threads=config.threads,
        max_connections=config.max_connections or None,
    )


# ------------------------------------------------------------ signals


def _handle_signals(signals: Signals, log: AccessLog | None) -> None:
    signals.on(signal.SIGTERM, signals.drain)
    signals.on(signal.SIGINT, signals.quit)
    signals.on(signal.SIGQUIT, signals.quit)
    # These are for the supervisor, but a terminal that closes, or a `kill` of the group, sends them to workers, too.
    ignore(signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
    if log is not None:
        signals.on(signal.SIGUSR1, log.reopen)
    else:
        ignore(signal.SIGUSR1)


def _answer_pings(signals: Signals, control: WorkerEnd, policy: RecyclePolicy) -> None:
    """Answer each ping of the supervisor, and check the recycling limits with it."""

    def answer() -> None:
        control.report(ALIVE)
        policy.check()

    signals.on_ping(answer)


def _end_as_orphan(signals: Signals, control: WorkerEnd, patience: float) -> None:
    """Drain when the supervisor is gone, and end in time even if the main thread is stuck.

    The signal's handler sets an alarm for which there is no handler. It runs between two steps of Python, also while a
    call of the app sleeps or loops, but not within a library that returns to Python only when it is done.
    """

    def set_alarm() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, patience + 2 * APP_SHUTDOWN + KILL_MARGIN)

    def drain() -> None:
        if control.has_ended():
            signals.drain()

    signals.on(signal.SIGIO, drain)
    control.watch(set_alarm)


# ------------------------------------------------------------ the process around the app


def become_worker(config: Config) -> Keys | None:
    """Prepare this process for the app. Return the keys of its certificates, if they had to be read before root was
    given up."""
    with suppress(RuntimeError, ValueError, OSError):  # standard error is no file
        faulthandler.enable()  # leaves a stack after a crash, and after the ABRT for a worker that hangs
    error_log.prepare_root(config.log_level)
    for variable in systemd.VARIABLES:
        os.environ.pop(variable, None)
    if config.reload:
        sys.dont_write_bytecode = True  # Python confuses a changed file of the same size and second with the cached one
    if not (config.user or config.group):
        return None
    from allcomers.server import privileges
    from allcomers.server.keys import read_now

    keys = read_now(config)
    new = privileges.account_of(config.user, config.group)
    if new is not None:
        new.become()
    return keys


def log_path(config: Config) -> str:
    """Return the path of the access log; "-" for standard output, "off" for none."""
    return config.access_log or ("-" if sys.stdout.isatty() else "off")


def _access_log(config: Config) -> AccessLog | None:
    path = log_path(config)
    if path == "off":
        return None
    from allcomers.server.access_log import AccessLog

    return AccessLog(path, config.access_log_format, warn=_logger.warning)
