"""What a model serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Address, Connection
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.system.accept_balance import WorkerSlot
    from allcomers.system.signals import Signals


class Serving(NamedTuple):
    """All that a model needs.

    listeners        sockets that listen, non-blocking, perhaps shared with other workers
    connect          maps (peer's address, now) to the Connection of a peer that was accepted
    calls            where calls run
    signals          the signals of this process
    slot             this worker's part of the peers, which come to all workers by the same listeners
    busy             sent to a peer that cannot be served
    threads          the threads of the thread-pool
    max_connections  peers at once, at most; None for the model's own limit
    http, service    the endpoint that answers all peers: one of the two
    """

    listeners: list[socket.socket]
    connect: Callable[[Address, float], Connection]
    calls: Calls
    signals: Signals
    slot: WorkerSlot
    busy: bytes = b""
    threads: int = 32
    max_connections: int | None = None
    http: HttpEndpoint | None = None
    service: ServiceEndpoint | None = None
