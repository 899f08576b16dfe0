"""One process that serves: loads the target, runs the model until told to stop.

It is forked by the supervisor, with the listeners open. It tells how it is through a lifeline of its own, whose end
tells it that the supervisor is gone: then nobody could stop it any more, so it drains.
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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from allcomers import calls, models
from allcomers.config.options import Config
from allcomers.errors import AppError, OperatorError
from allcomers.models.driver import serving
from allcomers.server import error_log, systemd
from allcomers.server.control_pipe import ALIVE, READY, WorkerEnd
from allcomers.server.recycling import RecyclePolicy
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.signals import Signals, ignore, release

if TYPE_CHECKING:
    from allcomers.server.access_log import AccessLog
    from allcomers.server.endpoint import Endpoint
    from allcomers.server.keys import Keys

_logger = logging.getLogger("allcomers.worker")

LAST_WORDS: Final = 0.5
"""Seconds that an app has for its shut-down, however quickly the worker is to stop."""

MERCY: Final = 1.0
"""Seconds beyond all deadlines before a process is killed."""


class Job(NamedTuple):
    """What the supervisor's processes are to do.

    load   makes the target: called in the worker, so that a reload sees the app's new code
    files  those that options were read from: a change of one is a change of the app (--reload)
    """

    config: Config
    load: Callable[[], Any]
    files: tuple[str, ...] = ()


def work(job: Job, listeners: list[socket.socket], slot: WorkerSlot, control: WorkerEnd) -> int:
    """Serve until told to stop; the exit status. To be called with signals withheld.

    What keeps it from beginning is said on standard error, in one line and the app's own traceback.
    """
    from allcomers.server.endpoint import endpoint

    signals = Signals(job.config.graceful_timeout, control.signals)
    try:
        log = _access_log(job.config)
        _handle_signals(signals, log)
        release()
        _end_as_orphan(signals, control, job.config.graceful_timeout)
        keys = become_worker(job.config)
        peers = endpoint(job.load(), job.config, log, keys, control.request_replacement, slot.counters)
        serving = _serving(job.config, peers, listeners, signals, slot, control)
        if peers.life is not None:
            peers.life.begin(signals.listen)
        error_log.settle_root()
    except OperatorError as error:
        complain(error)
        return error.exit_code
    if control.has_ended():
        return 0
    _answer(signals, control, RecyclePolicy(job.config, lambda: slot.answered, control.request_replacement))
    control.report(READY, peers.scheme)
    gc.collect()
    gc.freeze()  # what lives for as long as the process need not be looked at by each collection
    peers.serve(serving)
    if peers.life is not None:
        peers.life.end(max(LAST_WORDS, signals.deadline - monotonic()))
    return 0


def _serving(
    config: Config,
    peers: Endpoint,
    listeners: list[socket.socket],
    signals: Signals,
    slot: WorkerSlot,
    control: WorkerEnd,
) -> serving.Serving:
    limit = 0.0 if peers.is_async else config.call_timeout
    cells = slot.counters.cells
    cells[counters.MODEL] = 1 + list(models.TABLE).index(
        config.model or ("asyncio" if peers.is_async else models.best())
    )
    cells[counters.WHERE] = counters.WHERES.index(peers.calls)
    return serving.Serving(
        listeners=listeners,
        connect=peers.connect,
        calls=calls.make(peers.calls, config.threads, limit, control.request_replacement, slot.counters),
        signals=signals,
        slot=slot,
        busy=peers.busy,
        threads=config.threads,
        max_connections=config.max_connections or None,
        http=peers.http,
        service=peers.service,
    )


# ------------------------------------------------------------ orders


def _handle_signals(signals: Signals, log: AccessLog | None) -> None:
    signals.on(signal.SIGTERM, signals.drain)
    signals.on(signal.SIGINT, signals.quit)
    signals.on(signal.SIGQUIT, signals.quit)
    # The supervisor's to obey: a terminal that closes, or a `kill` of the whole group, tells us too.
    ignore(signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
    if log is not None:
        signals.on(signal.SIGUSR1, log.reopen)
    else:
        ignore(signal.SIGUSR1)


def _answer(signals: Signals, control: WorkerEnd, policy: RecyclePolicy) -> None:
    """Tell the supervisor that we are alive whenever it asks."""

    def answer() -> None:
        control.report(ALIVE)
        policy.check()

    signals.on_ping(answer)


def _end_as_orphan(signals: Signals, control: WorkerEnd, patience: float) -> None:
    """When the supervisor is gone nobody can stop us any more: drain, and end in time even if the main thread is stuck.

    For that the signal's handler sets an alarm that nobody catches. It runs between two steps of Python, also while a
    call of the app sleeps or loops; not while one is within a library that returns to Python only when it is done.
    """

    def set_alarm() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, patience + LAST_WORDS + MERCY)

    def drain() -> None:
        if control.has_ended():
            signals.drain()

    signals.on(signal.SIGIO, drain)
    control.watch(set_alarm)


# ------------------------------------------------------------ what surrounds the app


def become_worker(config: Config) -> Keys | None:
    """This process as the app is to find it; and the keys of its certificates, if they were read already."""
    with suppress(RuntimeError, ValueError, OSError):  # standard error is no file
        faulthandler.enable()  # a crash, and the ABRT of a supervisor that has waited too long, leave a stack
    error_log.prepare_root(config.log_level)
    for variable in systemd.VARIABLES:
        os.environ.pop(variable, None)
    if config.reload:
        sys.dont_write_bytecode = True  # a file of the same size and second as the last would be taken for it
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
    """Where answers are logged: a path, "-" for standard output, "off"."""
    return config.access_log or ("-" if sys.stdout.isatty() else "off")


def _access_log(config: Config) -> AccessLog | None:
    path = log_path(config)
    if path == "off":
        return None
    from allcomers.server.access_log import AccessLog

    return AccessLog(path, config.access_log_format, tell=_logger.warning)


def complain(error: OperatorError) -> None:
    """One line that says what is wrong; before it, the app's own traceback if there is one."""
    if isinstance(error, AppError) and error.traceback:
        sys.stderr.write(error.traceback)
    sys.stderr.write(f"allcomers: {error}\n")
    sys.stderr.flush()
