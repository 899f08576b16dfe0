"""The thread-pool model: N threads, each serves one connection at a time.

              ┌→ thread 1: serve → close → next
    accept → queue → thread 2: serve → close → next
              └→ thread N: …

The threads are there before the clients are, so none waits for a thread to start, and there are never more than N
(--threads, 32 by default). A connection has its thread until it closes; idle keep-alive clients have to
leave when others wait.

Use it where the number of threads must be bounded: each has a database connection, say.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from allcomers.connection.call import Address
from allcomers.models.driver.blocking import serve_peer
from allcomers.models.driver.conversations import Conversations, EvictionPipe, give_back
from allcomers.models.driver.serving import Serving
from allcomers.system.inbox import Inbox
from allcomers.system.native.primitives import SimpleQueue
from allcomers.system.native.threads import start_thread


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last conversation has ended."""
    waiting: SimpleQueue[tuple[socket.socket, Address] | None] = SimpleQueue()
    ended: Inbox[None] = Inbox()
    policy = EvictionPipe(serving.slot)

    def talk() -> None:
        while (peer := waiting.get()) is not None:
            with suppress(MemoryError):  # there was none even to begin
                serve_peer(serving, policy, *peer)
            del peer
            give_back(ended)

    places = min(serving.threads, serving.max_connections or serving.threads)
    for number in range(places):
        start_thread(talk, name=f"peer-{number}")
    conversations = Conversations(serving, policy, places, lambda sock, address: waiting.put((sock, address)))
    conversations.watch(ended.fileno(), lambda now: conversations.left(ended.take))
    conversations.run()
    for _ in range(places):
        waiting.put(None)
