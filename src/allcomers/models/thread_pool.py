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
import threading
from queue import SimpleQueue
from time import monotonic

from allcomers.connection.base import Address
from allcomers.models.driver.blocking import converse
from allcomers.models.driver.conversations import Conversations, EvictionPipe
from allcomers.models.driver.serving import Serving
from allcomers.system.inbox import Inbox


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last conversation has ended."""
    waiting: SimpleQueue[tuple[socket.socket, Address]] = SimpleQueue()
    ended: Inbox[None] = Inbox()
    policy = EvictionPipe(serving.slot)

    def talk() -> None:
        while True:
            sock, address = waiting.get()
            try:
                converse(sock, serving.endpoint.connect(address, monotonic()), serving.calls, policy)
            finally:
                ended.put(None)

    places = min(serving.threads, serving.max_connections or serving.threads)
    for number in range(places):
        threading.Thread(target=talk, name=f"peer-{number}", daemon=True).start()
    conversations = Conversations(serving, policy, places, lambda sock, address: waiting.put((sock, address)))
    conversations.watch(ended.fileno(), lambda now: conversations.left(len(ended.take())))
    conversations.run()
