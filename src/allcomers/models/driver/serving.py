"""The arguments of a model's serve(), with the endpoint that it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allcomers.calls.overload.admission import Admission
from allcomers.system.native.primitives import NATIVE, Primitives

if TYPE_CHECKING:
    import socket
    from asyncio import AbstractEventLoop

    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Connection
    from allcomers.connection.call import Address
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.system.accept_balance import WorkerSlot
    from allcomers.system.client_counts import ClientLimit
    from allcomers.system.signals import Orders


class Lifetime(Protocol):
    """The start-up of an app before the first peer, and its shut-down after the last: on an event loop that only runs
    for that, or on one that runs this (start, stop)."""

    @property
    def events(self) -> AbstractEventLoop: ...
    def begin(self, listen: Callable[[], object]) -> None: ...
    def end(self, until: float, least: float) -> None: ...
    async def start(self) -> None: ...
    async def stop(self, until: float, least: float) -> None: ...
    def close(self) -> None: ...


class Endpoint(NamedTuple):
    """The endpoint that peers connect to, and the model that serves it.

    scheme   of its addresses: "http", "https", "tcp", "tls"
    connect  (peer's address, now) to a Connection
    serve    the model
    busy     bytes for a peer that cannot be served; b"" for none
    calls    where calls run, as --calls names it
    kind     the app's interface, as --interface names it; "joined" for apps that routes() joins
    life     the lifetime of an async app; None if it has none
    http, service  the endpoint behind `connect`: one of the two
    clients  the limit on the connections of one client, or None
    is_announced  bool: a PROXY header has the client's address, so the connection is counted when that has come
    """

    scheme: str
    connect: Callable[[Address, float], Connection]
    serve: Callable[[Serving], None]
    busy: bytes = b""
    calls: str = "inline"
    life: Lifetime | None = None
    http: HttpEndpoint | None = None
    service: ServiceEndpoint | None = None
    clients: ClientLimit | None = None
    is_announced: bool = False
    kind: str = ""

    @property
    def is_async(self) -> bool:
        """Whether calls are tasks of the model's event loop, whatever --calls names. Their time limit is there, too."""
        return self.http is not None and self.http.async_call is not None


class Serving(NamedTuple):
    """The arguments of a model's serve().

    endpoint         the endpoint that peers connect to
    listeners        listening sockets, non-blocking, perhaps shared with other workers
    calls            runs the app's calls
    signals          the orders to this server: to drain, to quit
    slot             this worker's share of the peers, which reach all workers through the same listeners
    threads          size of the thread pool
    max_connections  most peers at once; None for the model's own limit
    admission        refuses requests that would wait too long; by default none
    primitives       a blocking model waits by these
    """

    endpoint: Endpoint
    listeners: list[socket.socket]
    calls: Calls
    signals: Orders
    slot: WorkerSlot
    threads: int = 32
    max_connections: int | None = None
    admission: Admission = Admission()
    primitives: Primitives = NATIVE

    @property
    def _clients(self) -> ClientLimit | None:
        """The limit by which a peer counts from accept on."""
        return None if self.endpoint.is_announced else self.endpoint.clients

    def admit(self, address: Address) -> bool:
        """Count a peer that was accepted by its client; return False where that has too many connections."""
        clients = self._clients
        return clients is None or clients.enter(address[0])

    def connect(self, address: Address, now: float) -> Connection:
        """Return the connection of a peer that was admitted."""
        conn = self.endpoint.connect(address, now)
        if self._clients is not None:
            conn.counted_as = address[0]
        return conn

    def dismiss(self, address: Address) -> None:
        """Take back admit(): this peer is not served."""
        if (clients := self._clients) is not None:
            clients.leave(address[0])

    def forget(self, conn: Connection) -> None:
        """Count a connection less: it has ended."""
        if conn.counted_as and self.endpoint.clients is not None:
            counted_as, conn.counted_as = conn.counted_as, ""
            self.endpoint.clients.leave(counted_as)
