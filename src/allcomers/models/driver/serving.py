"""What a model is given to serve."""

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
    """What a model is given.

    listeners        sockets that listen, non-blocking, shared with other workers perhaps
    connect          (peer's address, now) to the Connection of a peer that was accepted
    calls            where calls run
    signals           the signals of this process
    busy             what a peer is told that cannot be served
    threads          how many threads the thread-pool has
    max_connections  how many peers at once; None for the model's own measure
    http, service    what answers all peers: one of the two
    slot            this worker's part of the peers, who come to all workers by the same listeners
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
