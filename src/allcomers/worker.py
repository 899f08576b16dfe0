"""One process that serves: loads the target, runs the model until told to stop.

It is forked by the supervisor, with the listeners open. It tells that it is ready through a pipe of its own, and learns
from the end of that pipe that the supervisor is gone: then nobody could stop it any more, so it drains.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers import calls, models, sockets
from allcomers.config import Config
from allcomers.errors import AppError, OperatorError
from allcomers.orders import Orders, release
from allcomers.tally import Share

if TYPE_CHECKING:
    from allcomers.endpoint import Endpoint

_logger = logging.getLogger("allcomers.worker")

LAST_WORDS: Final = 0.5
"""Seconds that an app has for its shut-down, however quickly the worker is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the supervisor's processes are to do.

    load  makes the target: called in the worker, so that a reload sees the app's new code
    """

    config: Config
    load: Callable[[], Any]


def work(job: Job, listeners: list[socket.socket], share: Share, pipe: int) -> int:
    """Serve until told to stop; the exit status. To be called with signals withheld.

    `pipe` is told the scheme of the addresses ("http") once it serves; when nobody can read there, our parent is gone.

    What keeps it from beginning is said on standard error, in one line and the app's own traceback.
    """
    orders = Orders(job.config.graceful_timeout)
    orders.on(signal.SIGTERM, orders.drain)
    orders.on(signal.SIGINT, orders.quit)
    orders.on(signal.SIGQUIT, orders.quit)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's to obey: a terminal that closes tells us too
    try:
        log = _access_log(job.config)
        if log is not None:
            orders.on(signal.SIGUSR1, log.reopen)
        else:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        release()
        peers, serving = _prepare(job, listeners, orders, share, log)
    except OperatorError as error:
        complain(error)
        return error.exit_code
    orders.on(signal.SIGIO, partial(_drain_if_orphan, pipe, orders))
    _tell_of_end(pipe)
    if _has_ended(pipe):
        return 0
    os.write(pipe, peers.scheme.encode("ascii"))
    gc.collect()
    gc.freeze()  # what lives for as long as the process need not be looked at by each collection
    peers.serve(serving)
    if peers.life is not None:
        peers.life.end(max(LAST_WORDS, orders.deadline - monotonic()))
    return 0


def _prepare(
    job: Job, listeners: list[socket.socket], orders: Orders, share: Share, log: Any
) -> tuple[Endpoint, models.Serving]:
    from allcomers.endpoint import endpoint

    config = job.config
    peers = endpoint(job.load(), config, log, sockets.address(listeners[0]))
    serving = models.Serving(
        listeners=listeners,
        connect=peers.connect,
        calls=calls.find(config.calls or peers.calls, config.threads, config.call_timeout),
        orders=orders,
        share=share,
        busy=peers.busy,
        threads=config.threads,
        max_connections=config.max_connections or None,
    )
    if peers.life is not None:
        peers.life.begin()
    return peers, serving


def _access_log(config: Config) -> Any:
    path = config.access_log or ("-" if sys.stdout.isatty() else "off")
    if path == "off":
        return None
    from allcomers.accesslog import AccessLog

    return AccessLog(path, config.access_log_format, tell=_logger.warning)


def _tell_of_end(pipe: int) -> None:
    """Have SIGIO sent when the pipe's other end is closed (fcntl(2), O_ASYNC): no thread has to wait for that.

    The owner of such a signal belongs to the pipe, not to the process: so each worker has a pipe of its own.
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)


def _drain_if_orphan(pipe: int, orders: Orders) -> None:
    if _has_ended(pipe):
        orders.drain()


def _has_ended(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def complain(error: OperatorError) -> None:
    """One line that says what is wrong; before it, the app's own traceback if there is one."""
    if isinstance(error, AppError) and error.traceback:
        sys.stderr.write(error.traceback)
    sys.stderr.write(f"allcomers: {error}\n")
    sys.stderr.flush()
