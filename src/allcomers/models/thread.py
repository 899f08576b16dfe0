"""The thread model: a new thread for each connection.

    accept → start a thread ┬→ serve → close
    accept → start a thread ┼→ serve → close
    accept → …              ┴→ …

Each conversation is straight-line code that may wait wherever it likes: for its client, for a database. The kernel
switches between the threads; Python runs one of them at a time and hands over at each wait. Costs about 0.1 ms to start
a thread, some tens of KB of stack in use for each, and two hand-overs of the interpreter's lock a request.

Use it for some hundred clients whose calls wait. When all places (--max-connections, 1,000 by default) are taken, the
next client waits in the kernel's backlog until a thread ends.
"""

from __future__ import annotations

import socket

from allcomers.connection.call import Address
from allcomers.models.driver.blocking import serve_peer
from allcomers.models.driver.conversations import Conversations, EvictionPipe, give_back
from allcomers.models.driver.serving import Serving
from allcomers.system.inbox import Inbox
from allcomers.system.native.threads import start_thread

PLACES = 1000
"""Threads at most. Each has 8 MiB of address space for its stack, of which it uses what it touches; a smaller stack
would let deeply nested input (JSON) overrun it, for the interpreter's own limits count on that size."""


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last thread has ended."""
    ended: Inbox[None] = Inbox()
    policy = EvictionPipe(serving.slot)

    def talk(sock: socket.socket, address: Address) -> None:
        try:
            serve_peer(serving, policy, sock, address)
        finally:
            give_back(ended)

    def start(sock: socket.socket, address: Address) -> None:
        start_thread(talk, sock, address)

    conversations = Conversations(serving, policy, serving.max_connections or PLACES, start)
    conversations.watch(ended.fileno(), lambda now: conversations.left(ended.take))
    conversations.run()
