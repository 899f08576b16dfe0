"""The arguments of a model's serve(), with the endpoint that it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import socket

    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Address, Connection
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.system.accept_balance import WorkerSlot
    from allcomers.system.signals import Signals


class Lifetime(Protocol):
    """The start-up of an app before the first peer, and its shut-down after the last."""

    def begin(self, listen: Callable[[], object]) -> None: ...
    def end(self, patience: float) -> None: ...


class Endpoint(NamedTuple):
    """The endpoint that peers connect to, and the model that serves it.

    scheme   of its addresses: "http", "https", "tcp", "tls"
    connect  (peer's address, now) to a Connection
    serve    the model
    busy     bytes for a peer that cannot be served; b"" for none
    calls    where calls run, as --calls names it
    life     the lifetime of an async app; None if it has none
    http, service  the endpoint behind `connect`: one of the two
    """

    scheme: str
    connect: Callable[[Address, float], Connection]
    serve: Callable[[Serving], None]
    busy: bytes = b""
    calls: str = "inline"
    life: Lifetime | None = None
    http: HttpEndpoint | None = None
    service: ServiceEndpoint | None = None

    @property
    def is_async(self) -> bool:
        """Whether calls are tasks of the model's event loop, whatever --calls names. Their time limit is there, too."""
        return self.http is not None and self.http.async_call is not None


class Serving(NamedTuple):
    """The arguments of a model's serve().

    endpoint         the endpoint that peers connect to
    listeners        listening sockets, non-blocking, perhaps shared with other workers
    calls            runs the app's calls
    signals          the signals of this process
    slot             this worker's share of the peers, which reach all workers through the same listeners
    threads          size of the thread pool
    max_connections  most peers at once; None for the model's own limit
    """

    endpoint: Endpoint
    listeners: list[socket.socket]
    calls: Calls
    signals: Signals
    slot: WorkerSlot
    threads: int = 32
    max_connections: int | None = None
