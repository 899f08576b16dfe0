"""Listeners beside TLS: those that serve the same without it, and those that send all requests to HTTPS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from allcomers.connection.base import Connection
from allcomers.connection.call import Address
from allcomers.connection.http.async_call import Answered
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import AppError
from allcomers.models.driver.serving import Endpoint
from allcomers.protocol.compiled import Server
from allcomers.protocol.message import Request, Response
from allcomers.system.listening.own_address import own_address
from allcomers.system.listening.plain import PlainListener


def with_plain(
    endpoint: Endpoint, listeners: Sequence[socket.socket], http_connection: Callable[..., Connection]
) -> Endpoint:
    """Return `endpoint`, of TLS, with connections that have none at the PlainListeners. Raises AppError.

    http_connection  makes such a connection of an HttpEndpoint
    """
    if not any(isinstance(listener, PlainListener) for listener in listeners):
        return endpoint  # --check-config opens none
    sealed: Any = endpoint.connect  # a partial: of a class, and of what its connections share
    shared = sealed.args[0]
    made = sealed.func if endpoint.http is None else http_connection
    plain = partial(made, shared._replace(tls=None))
    redirect = plain
    if any(isinstance(listener, PlainListener) and listener.redirects for listener in listeners):
        if endpoint.http is None:
            raise AppError("--redirect-https is for HTTP, and a service has a protocol of its own")
        handler = HttpsRedirect(getattr(shared.tls, "hosts", ()), _https_port(listeners))
        redirect = partial(
            made,
            shared._replace(
                tls=None, handler=handler, begin=None, async_call=lambda request, asker: Answered(handler(request))
            ),
        )
    find = _Finder(listeners)

    def connect(address: Address, now: float) -> Connection:
        listener = find(address[2])
        if not isinstance(listener, PlainListener):
            return endpoint.connect(address, now)
        return (redirect if listener.redirects else plain)(address, now)

    return endpoint._replace(connect=connect)


class _Finder:
    """Finds the listener at which a peer came in, by the address that it connected to."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._by_address = {own_address(listener): listener for listener in listeners}
        self._find = lru_cache(1024)(self._look_up)

    def __call__(self, server: Server) -> socket.socket | None:
        return self._find(server)

    def _look_up(self, server: Server) -> socket.socket | None:
        host, port = server
        every = "::" if ":" in host else "0.0.0.0"
        return self._by_address.get(server) or self._by_address.get((every, port))


def _https_port(listeners: Sequence[socket.socket]) -> int:
    """Return the port of the first listener with TLS; 443 where none has a port."""
    ports = (own_address(one)[1] for one in listeners if not isinstance(one, PlainListener))
    return next((port for port in ports if port), 443)


class HttpsRedirect:
    """A handler that sends each request to the same address with https.

    hosts  names and addresses in the certificates: no other is redirected to, for its client would be refused there;
           empty where they are not known
    port   of HTTPS
    """

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        self._hosts = frozenset(hosts)
        self._port = "" if port == 443 else f":{port}"

    def __call__(self, request: Request) -> Response:
        """Return 308, which keeps method and body (RFC 9110, 15.4.9); 400 or 421 (15.5.20) where it leads nowhere."""
        name = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
        if not name or not request.target.startswith("/"):
            return plain_response(400, "This request names no page to find at https://.", close=True)
        if self._hosts and not self._knows(name.strip("[]").rstrip(".").lower()):
            return plain_response(421, "No certificate of this server names this host.", close=True)
        return plain_response(
            308, "Use https://.", [("Location", f"https://{name}{self._port}{request.target}")], close=True
        )

    def _knows(self, name: str) -> bool:
        return name in self._hosts or "*." + name.partition(".")[2] in self._hosts


def _has_port(host: str) -> bool:
    return ":" in host and not host.endswith("]")
