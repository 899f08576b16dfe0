"""From a target and a Config to what connects peers: is it a Web class, a Service, a Site, a handler?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers.clock import DateLine
from allcomers.config import Config
from allcomers.connection import Address, Connection
from allcomers.errors import AppError, ConfigError
from allcomers.handlers.service import Service

if TYPE_CHECKING:
    import ssl

    from allcomers.accesslog import AccessLog
    from allcomers.protocol.message import Request

_logger = logging.getLogger("allcomers.app")


def is_service(target: Any) -> bool:
    """Does it speak a TCP protocol of its own, rather than HTTP?"""
    return isinstance(target, type) and issubclass(target, Service)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What peers connect to.

    scheme   of its addresses: "http", "https", "tcp", "tls"
    connect  (peer's address, now) to a Connection
    busy     what a peer is told that cannot be served
    """

    scheme: str
    connect: Callable[[Address, float], Connection]
    busy: bytes


def endpoint(target: Any, config: Config, log: AccessLog | None) -> Endpoint:
    """What serves `target`.

    Raises AppError where it is nothing that can be served, ConfigError for a bad certificate.
    """
    tls = _tls(config, [] if is_service(target) else ["http/1.1"])
    if is_service(target):
        from allcomers.service_connection import ServiceConnection, ServiceEndpoint

        service = ServiceEndpoint(service=target, limits=config.limits, report=_report_peer, tls=tls)
        return Endpoint("tls" if tls else "tcp", partial(ServiceConnection, service), b"")
    from allcomers.handlers.web import as_handler
    from allcomers.http_calls import HttpEndpoint
    from allcomers.http_connection import HttpConnection, busy

    try:
        handler = as_handler(target)
    except ConfigError as error:
        raise AppError(str(error)) from None
    except BaseException as error:  # a Web class is made here
        from allcomers.target import failure

        raise failure(f"making {target.__name__}()", error) from None
    date = DateLine()
    http = HttpEndpoint(
        handler=handler, limits=config.limits, date=date, wall=time.time, report=_report_request, log=log, tls=tls
    )
    connect = partial(HttpConnection, http)
    # A TLS peer would take plain words for a broken handshake.
    return Endpoint("https", connect, b"") if tls else Endpoint("http", connect, busy(date(time.monotonic())))


def _tls(config: Config, protocols: list[str]) -> ssl.SSLContext | None:
    if not config.certfile:
        return None
    from allcomers.tls import server_context

    return server_context(config.certfile, config.keyfile, config.ca_certs, protocols)


def _report_request(error: BaseException, request: Request) -> None:
    # repr: what a client sent must not write lines of its own into the log.
    _logger.error("%s %s failed", request.method, ascii(request.target), exc_info=error)


def _report_peer(error: BaseException, peer: str) -> None:
    _logger.error("the service failed for %s", peer or "a local peer", exc_info=error)
