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

import gc
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from time import monotonic

from allcomers.connection.base import Address
from allcomers.models.driver.blocking import converse
from allcomers.models.driver.conversations import Conversations, EvictionPipe
from allcomers.models.driver.serving import Serving
from allcomers.system.signals import blocked_signals, ignore, release

PLACES = 256
"""Processes at most: Apache's prefork has the same ServerLimit."""


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last child has ended."""
    children: dict[int, int] = {}  # by pid, the number of the row in which each counts
    policy = EvictionPipe(serving.slot)

    def start(sock: socket.socket, address: Address) -> None:
        used = set(children.values())
        row = next(row for row in range(len(used) + 1) if row not in used)
        serving.slot.lend_row(row)
        with blocked_signals():
            child = os.fork()
            if child == 0:
                _be_child(serving, policy, sock, address, row)
        children[child] = row
        sock.close()

    def reap() -> None:
        gone = [child for child in children if os.waitpid(child, os.WNOHANG)[0]]
        for child in gone:
            del children[child]
        conversations.left(len(gone))

    gc.freeze()  # the objects of now are never collected: their pages stay shared with the children
    conversations = Conversations(serving, policy, serving.max_connections or PLACES, start)
    serving.signals.on(signal.SIGCHLD, reap)
    conversations.run()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _be_child(serving: Serving, policy: EvictionPipe, sock: socket.socket, address: Address, row: int) -> None:
    """Serve this one peer, then exit; never return into the parent's code."""
    try:
        serving.signals.forget()
        ignore(signal.SIGTERM, signal.SIGUSR1)  # the policy decides here; systemd signals every process there is
        release()
        for listener in serving.listeners:
            listener.close()
        serving.slot.be_child(row)
        policy.evict_all()  # closes this process's end: the pipe ends when the parent's does
        converse(sock, serving.endpoint.connect(address, monotonic()), serving.calls, policy)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
