"""The way from a target and a Config to the endpoint that clients or peers connect to.

`apps.detection` finds the kind of a target. The branch for that kind makes the endpoint, from what all HTTP apps share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from allcomers import models
from allcomers.apps import detection
from allcomers.apps.by_route import counted
from allcomers.config.options import Config
from allcomers.errors import AppError, ConfigError
from allcomers.models.driver.serving import Endpoint
from allcomers.server.clock import DateLine, NoDateLine
from allcomers.server.interfaces.callers import (
    async_calls,
    blocking_app,
    compression,
    event_loop,
    report,
    runtime,
    server_field,
    wsgi_calls,
    wsgi_handler,
)
from allcomers.server.tls.keys import HTTP, Keys, certificates
from allcomers.system import descriptors
from allcomers.system.counters import CounterRow
from allcomers.system.memory.ledger import Ledger, unbounded
from allcomers.system.native.primitives import are_patched
from allcomers.system.native.threads import load_hubs

if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl

    from allcomers.apps.mounts import Table
    from allcomers.connection.base import Connection
    from allcomers.connection.http.async_call import Asker, AsyncCall
    from allcomers.connection.http.endpoint import Begin, HttpEndpoint
    from allcomers.connection.http.http1 import Http1Connection
    from allcomers.models.driver.serving import Lifetime, Serving
    from allcomers.protocol.message import Handler, Request
    from allcomers.protocol.proxy.forwarded import Proxies
    from allcomers.server.access_log import AccessLog
    from allcomers.system.client_counts import ClientLimit
    from allcomers.system.diagnostics.route_board import RouteCounts

_logger = logging.getLogger("allcomers.app")


class _Parts(NamedTuple):
    """What the endpoint of an HTTP app is made of, beside the app.

    shared  makes an HttpEndpoint of an app; the others are as in endpoint()
    """

    config: Config
    shared: partial[HttpEndpoint]
    request_replacement: Callable[[str], object]
    counters: CounterRow
    events: asyncio.AbstractEventLoop | None
    routes: RouteCounts | None


def endpoint(
    target: Any,
    config: Config,
    log: AccessLog | None,
    keys: Keys | None = None,
    request_replacement: Callable[[str], object] = lambda why: None,
    counters: CounterRow | None = None,
    clients: ClientLimit | None = None,
    ledger: Ledger | None = None,
    events: asyncio.AbstractEventLoop | None = None,
    listeners: Sequence[socket.socket] = (),
    routes: RouteCounts | None = None,
) -> Endpoint:
    """Return the endpoint that serves `target`.

    keys                 give the certificates; by default their files are read now
    request_replacement  called with a reason when another worker must replace this one
    counters             where work is counted; by default a row of its own
    clients              the limit on the connections of one client
    ledger               where memory held is counted; by default one without bounds
    events               the event loop of an async app, which then has its other tasks, too; by default a new one
    listeners            the server's sockets, some of which may speak no TLS
    routes               count requests by route; by default nobody does

    Raises AppError if the target cannot be served, ConfigError for a bad certificate.
    """
    kind, found = detection.detect(target, config)
    keys = keys or partial(certificates, config)
    counters = counters or CounterRow()
    ledger = ledger or unbounded()
    table = joined_table(kind, found, config.static)
    if kind == "service":
        made = _service(found, config, keys(()), counters, ledger)
    else:
        shared = _shared(config, log, keys(HTTP[config.http]), counters, ledger)
        parts = _Parts(config, shared, request_replacement, counters, events, routes)
        made = _of_kind(kind, found, parts) if table is None else _joined(table, parts)
    made = made._replace(clients=clients, kind="joined" if hasattr(found, "leaves") and table is not None else kind)
    return _fronted(made, config, listeners)


def _fronted(made: Endpoint, config: Config, listeners: Sequence[socket.socket]) -> Endpoint:
    """Return the endpoint behind what comes first on a connection: plain HTTP where TLS is served, a PROXY header."""
    if config.bind_plain or config.redirect_https:
        from allcomers.server.tls.plain import with_plain

        made = with_plain(made, listeners, _plain_connection(config))
    if config.proxy_protocol:
        from allcomers.connection.proxy_header import with_proxy_header

        made = made._replace(connect=with_proxy_header(made.connect, made.clients, made.busy), is_announced=True)
    return made


def _service(target: Any, config: Config, tls: ssl.SSLContext | None, counters: CounterRow, ledger: Ledger) -> Endpoint:
    from allcomers.connection.service import ServiceConnection, ServiceEndpoint

    service = ServiceEndpoint(
        service=target, limits=config.limits, report=_report_peer, tls=tls, counters=counters, ledger=ledger
    )
    return Endpoint(
        scheme="tls" if tls else "tcp",
        connect=partial(ServiceConnection, service),
        service=service,
        serve=_model(config),
        calls=models.where(config.calls or "inline", config),
    )


# ------------------------------------------------------------ HTTP


def _shared(
    config: Config, log: AccessLog | None, tls: ssl.SSLContext | None, counters: CounterRow, ledger: Ledger
) -> partial[HttpEndpoint]:
    """Return an HttpEndpoint that lacks its app."""
    from allcomers.connection.http.endpoint import HttpEndpoint

    return partial(
        HttpEndpoint,
        limits=config.limits,
        date=DateLine() if config.date_header else NoDateLine(),
        wall=time.time,
        report=report(config),
        log=log,
        proxies=_proxies(config),
        clock=time.monotonic if config.server_timing or (log is not None and log.timed) else None,
        server_timing=config.server_timing,
        server=server_field(config),
        tls=tls,
        gathers=config.gather,
        counters=counters,
        ledger=ledger,
        http2=None if config.http == "1.1" else _http2,
    )


def _http2(before: Http1Connection, early: bytes, now: float) -> Connection:
    """Return the connection that follows on `before`, whose client speaks HTTP/2."""
    from allcomers.connection.http.http2.connection import Http2Connection  # late: many servers have no such client

    return Http2Connection(before, early, now)


def _http(
    shared: partial[HttpEndpoint],
    config: Config,
    handler: Handler,
    *,
    async_call: Callable[[Request, Asker], AsyncCall | None] | None = None,
    begin: Begin | None = None,
    calls: str = "inline",
    life: Lifetime | None = None,
    serve: Callable[[Serving], None] | None = None,
) -> Endpoint:
    """Return the endpoint of an HTTP app. `handler`, `async_call` and `begin` are as in HttpEndpoint."""
    from allcomers.connection.http.response_head import busy

    if policy := compression(config):
        from allcomers.apps.compression.response import CompressedHandler

        handler = CompressedHandler(handler, policy)
    sends_in_call = calls == "inline" and not config.call_limit
    http = shared(handler=handler, async_call=async_call, begin=begin, sends_in_call=sends_in_call)
    return Endpoint(
        scheme="https" if http.tls else "http",
        connect=partial(_connection(config), http),
        serve=serve or _model(config),
        # Within TLS, plain bytes would look like a broken handshake.
        busy=b"" if http.tls else busy(http.date(time.monotonic()), http.server),
        calls=calls,
        life=life,
        http=http,
    )


def _connection(config: Config) -> type[Http1Connection]:
    from allcomers.connection.http.http1 import BeforeHttp2, Http1Connection, TimedHttp1Connection

    if config.http == "2":
        return BeforeHttp2
    return TimedHttp1Connection if config.request_timeout else Http1Connection


def _plain_connection(config: Config) -> type[Http1Connection]:
    """Return the class of connections without TLS at a server that has it."""
    from allcomers.connection.http.http1 import BeforeHttp2, PlainBesideTls, TimedHttp1Connection

    if config.http == "2":
        return BeforeHttp2
    return TimedHttp1Connection if config.request_timeout else PlainBesideTls


def _proxies(config: Config) -> Proxies | None:
    if not config.forwarded_allow_ips:
        return None
    from allcomers.protocol.proxy.forwarded import Proxies

    return Proxies(config.forwarded_allow_ips)


def _model(config: Config) -> Callable[[Serving], None]:
    return models.get(config.model or models.best()).load()


# ------------------------------------------------------------ each kind of app


def joined_table(kind: str, target: Any, static: Sequence[str]) -> Table | None:
    """Return the table of `target` and the folders of --static; None for an app alone. Raises AppError, ConfigError."""
    if kind == "service" and static:
        raise AppError("--static: a service has no paths, so no files can stand beside it")
    if kind == "service" or not (static or hasattr(target, "leaves")):
        return None
    from allcomers.server.interfaces import joined

    return joined.table(kind, target, static)


def _of_kind(kind: str, target: Any, parts: _Parts) -> Endpoint:
    if kind == "wsgi":
        return _wsgi(target, parts)
    if kind == "asgi2":
        from allcomers.apps.asgi.asgi2 import single

        return _asgi(single(target), parts)
    return _asgi(target, parts) if kind == "asgi" else _web(target, parts)


def _web(target: Any, parts: _Parts) -> Endpoint:
    from allcomers.apps import web
    from allcomers.protocol.message import Request

    config = parts.config
    Request.input_limits = config.input_limits
    try:
        handler = web.as_handler(target)
    except ConfigError as error:
        raise AppError(str(error)) from None
    except BaseException as error:  # a Web class is made here
        from allcomers.apps.loading import failure

        raise failure(f"making {target.__name__}()", error) from None
    if web.is_async(handler):
        from allcomers.apps.async_web import AsgiHandler

        return _asgi(AsgiHandler(handler), parts)
    # An app under asyncio runs code on that loop, which only calls in the loop's own thread can find.
    calls = config.calls or ("inline" if config.model == "asyncio" else "auto")
    handler = counted.handler(_with_secure_cookies(handler, config), parts.routes)
    return _http(parts.shared, config, handler, calls=models.where(calls, config))


def _with_secure_cookies(handler: Handler, config: Config) -> Handler:
    """Return a handler whose cookies are for TLS alone where its request came by that, as it may here."""
    if not (config.certfile or config.tls_self_signed or config.forwarded_allow_ips):
        return handler
    from allcomers.apps import web

    return web.with_secure_cookies(handler)


def _wsgi(target: Any, parts: _Parts) -> Endpoint:
    calls = wsgi_calls(parts.config)
    handler = wsgi_handler(counted.wsgi(target, parts.routes), parts.config, calls)
    return _http(parts.shared, parts.config, counted.handler(handler, parts.routes), calls=calls)


def _asgi(target: Any, parts: _Parts) -> Endpoint:
    from allcomers.apps.asgi.lifespan import Life, Lifespan

    config = parts.config
    target = counted.asgi(target, parts.routes)
    lifespan = Lifespan(target, config.lifespan)
    blocking = blocking_app(target, config)
    events, serve = event_loop(config, parts.events)
    if serve is None:
        return _http(parts.shared, config, blocking, life=Life(events, (lifespan, blocking)))
    one = runtime(target, config, events, parts.counters, parts.request_replacement)
    async_call, begin = async_calls(one, config)
    return _http(
        parts.shared,
        config,
        blocking,
        async_call=async_call,
        begin=begin,
        life=Life(events, (lifespan, one)),
        serve=serve,
    )


def _joined(table: Table, parts: _Parts) -> Endpoint:
    """Return the endpoint of several apps, each called in its own way."""
    from allcomers.protocol.message import Request
    from allcomers.server.interfaces.joined import Joined, apps_of

    config, shared, routes = parts.config, parts.shared, parts.routes
    Request.input_limits = config.input_limits
    wsgi, asgi = apps_of(table, "wsgi"), apps_of(table, "asgi", "asgi2")
    if asgi and not config.model:
        config = config.but(model="asyncio")
    calls = wsgi_calls(config) if wsgi or config.calls or config.model != "asyncio" else "inline"
    handlers: dict[int, Handler] = {
        key: wsgi_handler(counted.wsgi(app, routes), config, calls, mounted=True) for key, app in wsgi.items()
    }
    if not asgi:
        whole = _with_secure_cookies(Joined(table, handlers, {}, report(config)), config)
        return _http(shared, config, counted.handler(whole, routes), calls=calls)
    from allcomers.apps.asgi.lifespan import Life, Lifespan

    events, serve = event_loop(config, parts.events)
    if serve is None:
        blocking = {key: blocking_app(app, config) for key, app in asgi.items()}
        life = Life(events, *((Lifespan(app, config.lifespan), blocking[key]) for key, app in asgi.items()))
        whole = _with_secure_cookies(Joined(table, handlers | blocking, {}, report(config)), config)
        return _http(shared, config, counted.handler(whole, routes), calls=calls, life=life)
    runtimes = {
        key: runtime(counted.asgi(app, routes), config, events, parts.counters, parts.request_replacement)
        for key, app in asgi.items()
    }
    starts = {key: async_calls(one, config) for key, one in runtimes.items()}
    joined = Joined(table, handlers, starts, report(config))
    return _http(
        shared,
        config,
        counted.handler(_with_secure_cookies(joined, config), routes),
        async_call=joined.async_call,
        begin=joined.begin if joined.is_async else None,
        calls="inline" if joined.is_async else "pool" if calls == "auto" else calls,
        life=Life(events, *((Lifespan(one.app, config.lifespan), one) for one in runtimes.values())),
        serve=serve,
    )


def settle_patches(config: Config, served: Endpoint) -> None:
    """Prepare for threads an app that has patched the standard library for greenlets, under a model without them.

    Log what does not work.
    """
    if not are_patched() or models.get(config.model or models.best()).is_patched:
        return
    load_hubs()
    if served.life is not None:  # an async app
        text = "by gevent: asyncio.to_thread() and sync endpoints never return; an async app needs no gevent.monkey"
    else:
        text = "by gevent: its calls run in threads, and a greenlet that one starts only while it waits; see -m gevent"
    _logger.warning("the app has patched Python's threads %s", text)


# ------------------------------------------------------------ reports


def _report_peer(error: BaseException, peer: str) -> None:
    descriptors.note(error)
    _logger.error("the service failed for %s", peer or "a local peer", exc_info=error)
