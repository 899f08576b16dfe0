"""The gevent model: a greenlet for each connection, all in one thread.

    accept → start a greenlet ┬→ serve → close
    accept → start a greenlet ┼→ serve → close
    accept → …                ┴→ …

The thread model, line by line; but a greenlet is some KB of memory that the kernel does not know. It keeps the thread
until it waits; gevent's loop, the hub, then runs the next that is ready. So that all waits are the hub's, the standard
library is patched before the app is loaded: its sockets, locks and sleeps suspend a greenlet where they would block.

Use it for WSGI apps whose calls wait, many at once, and for those that were made for gevent. A call that computes, or
that waits in a library of C which knows no greenlets, keeps all others waiting. When all places (--max-connections,
10,000 by default) are taken, the next client waits in the kernel's backlog.
"""

from __future__ import annotations

import socket
from functools import partial

import gevent
from gevent.lock import BoundedSemaphore

from allcomers.connection.call import Address
from allcomers.models.driver.blocking import serve_peer
from allcomers.models.driver.conversations import Conversations, give_back
from allcomers.models.driver.serving import Serving
from allcomers.models.greenlets.poll import EvictionBell, GreenletPoll
from allcomers.system.inbox import Inbox
from allcomers.system.native.primitives import Primitives

PLACES = 10_000
"""Greenlets at most: some 30 KB each, with its connection."""


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last greenlet has ended."""
    ended: Inbox[None] = Inbox()
    policy = EvictionBell(serving.slot)
    green = Primitives(partial(GreenletPoll, policy), BoundedSemaphore, lambda: id(gevent.getcurrent()), gevent.sleep)
    serving = serving._replace(primitives=green)

    def talk(sock: socket.socket, address: Address) -> None:
        try:
            serve_peer(serving, policy, sock, address)
        finally:
            give_back(ended)

    conversations = Conversations(
        serving, policy, serving.max_connections or PLACES, lambda sock, address: gevent.spawn(talk, sock, address)
    )
    conversations.watch(ended.fileno(), lambda now: conversations.left(ended.take))
    conversations.run()
