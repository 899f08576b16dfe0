"""The process model: a new process for each connection, gone when the client leaves.

    accept → fork ┬→ serve → close → exit
    accept → fork ┼→ serve → close → exit
    accept → …    ┴→ …

As inetd and the first web servers did. Whatever a conversation does, corrupts or leaks ends with it, and the kernel
runs as many at once as there are cores. A fork costs from 0.4 ms on and some MB of memory that are no longer
shared; nothing that a handler keeps in memory outlives its connection, or is seen by another.

Use it where each conversation is long, few at once, and must not be able to hurt the next. When all places
(--max-connections, 256 by default) are taken, the next client waits in the kernel's backlog.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from allcomers.connection.call import Address
from allcomers.models.driver.blocking import serve_peer
from allcomers.models.driver.conversations import Conversations, EvictionPipe
from allcomers.models.driver.serving import Serving
from allcomers.system import faults, sockets
from allcomers.system.descriptors import keep_limit
from allcomers.system.native.primitives import fork, waitpid
from allcomers.system.processes import descendants, forks, shutdown
from allcomers.system.processes.shutdown import Shutdown
from allcomers.system.signals import Signals, blocked_signals, ignore, release

PLACES = 256
"""Processes at most: Apache's prefork has the same ServerLimit."""

KILLED: Final = 0.5
"""Seconds in which a child that was killed has ended, but for one that the kernel keeps."""


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last child has ended."""
    signals = serving.signals
    assert isinstance(signals, Signals), "only the main thread hears of children that end"
    children: dict[int, tuple[int, Address]] = {}  # by pid, the number of the row in which each counts, and its peer
    policy = EvictionPipe(serving.slot)

    def start(sock: socket.socket, address: Address) -> None:
        used = {row for row, _ in children.values()}
        row = next(row for row in range(len(used) + 1) if row not in used)
        serving.slot.lend_row(row)
        with blocked_signals(), forks.own():
            child = fork()
            if child == 0:
                _be_child(serving, policy, sock, address, row)
        children[child] = row, address
        with suppress(OSError, MemoryError):  # from here on the child answers, and nothing else may
            sock.close()

    def reap() -> None:
        gone = [child for child in children if waitpid(child, os.WNOHANG)[0]]
        for child in gone:
            row, address = children.pop(child)
            serving.slot.end_child(row)
            serving.dismiss(address)
        conversations.left(lambda: gone)

    gc.freeze()  # the objects of now are never collected: their pages stay shared with the children
    conversations = Conversations(serving, policy, serving.max_connections or PLACES, start)
    signals.on(signal.SIGCHLD, reap)
    conversations.run()
    descendants.remember(os.getpid())  # the children's own, too: they are left to the worker's end
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    until = monotonic() + KILLED
    while children and monotonic() < until:  # else the worker's end would take them for processes of the app
        reap()
        sleep(KILLED / 100)
    policy.close()  # here: what is frozen in a circle is never freed


def _be_child(serving: Serving, policy: EvictionPipe, sock: socket.socket, address: Address, row: int) -> None:
    """Serve this one peer, then exit; never return into the parent's code."""
    atexit._clear()  # its functions are the worker's
    try:
        assert isinstance(serving.signals, Signals)
        serving.signals.forget()
        keep_limit()
        ignore(signal.SIGTERM, signal.SIGUSR1)  # the policy decides here; systemd signals every process there is
        release()
        for listener in serving.listeners:
            sockets.close(listener)
        serving.slot.be_child(row)
        if serving.endpoint.clients is not None:
            serving.endpoint.clients.be_child(serving.slot.counters.cells)
        policy.evict_all()  # closes this process's end: the pipe ends when the parent's does
        serve_peer(serving, policy, sock, address)
    except BaseException as error:
        faults.report_peer(error, address[0])
    finally:
        try:
            for handler in logging.getLogger("allcomers").handlers:
                handler.close()  # the server's writes what it has counted
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            _end(serving.signals.graceful_timeout)  # whatever those raise: the parent's code is not this process's


def _end(patience: float) -> None:
    """End this process; what the app has begun in it, threads and processes, may take so long."""
    try:
        if shutdown.is_needed():
            until = monotonic() + patience
            Shutdown(lambda: until, 0.0, lambda: None, 0).run(sleep)
    finally:
        os._exit(0)
