"""The way from a target and a Config to the endpoint that clients or peers connect to.

`apps.detection` finds the kind of a target. The branch for that kind makes the endpoint, from what all HTTP apps share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers import models
from allcomers.apps import detection
from allcomers.config.options import Config
from allcomers.errors import AppError, ConfigError
from allcomers.models.driver.serving import Endpoint
from allcomers.server.clock import DateLine
from allcomers.server.keys import HTTP, Keys, certificates
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    import asyncio
    import ssl

    from allcomers.apps.asgi.runtime import AsgiRuntime
    from allcomers.connection.http.async_call import Asker, AsyncCall
    from allcomers.connection.http.endpoint import HttpEndpoint, Origin
    from allcomers.models.driver.serving import Lifetime, Serving
    from allcomers.protocol.head import RequestHead
    from allcomers.protocol.message import Handler, Request, Response
    from allcomers.server.access_log import AccessLog

_logger = logging.getLogger("allcomers.app")


def endpoint(
    target: Any,
    config: Config,
    log: AccessLog | None,
    keys: Keys | None = None,
    request_replacement: Callable[[str], object] = lambda why: None,
    counters: CounterRow | None = None,
) -> Endpoint:
    """Return the endpoint that serves `target`.

    keys                 give the certificates; by default their files are read now
    request_replacement  called with a reason when another worker must replace this one
    counters             where work is counted; by default a row of its own

    Raises AppError if the target cannot be served, ConfigError for a bad certificate.
    """
    kind, found = detection.detect(target, config)
    keys = keys or partial(certificates, config)
    counters = counters or CounterRow()
    if kind == "service":
        made = _service(found, config, keys(()), counters)
    else:
        shared = _shared(config, log, keys(HTTP), counters)
        if kind == "wsgi":
            made = _wsgi(found, config, shared)
        elif kind in ("asgi", "asgi2"):
            made = _asgi(_single(found) if kind == "asgi2" else found, config, shared, request_replacement, counters)
        else:
            made = _web(found, config, shared)
    if config.proxy_protocol:
        from allcomers.connection.proxy_header import with_proxy_header

        return made._replace(connect=with_proxy_header(made.connect))
    return made


def _service(target: Any, config: Config, tls: ssl.SSLContext | None, counters: CounterRow) -> Endpoint:
    from allcomers.connection.service import ServiceConnection, ServiceEndpoint

    service = ServiceEndpoint(service=target, limits=config.limits, report=_report_peer, tls=tls, counters=counters)
    return Endpoint(
        scheme="tls" if tls else "tcp",
        connect=partial(ServiceConnection, service),
        service=service,
        serve=_model(config),
        calls=models.where(config.calls or "inline", config),
    )


# ------------------------------------------------------------ HTTP


def _shared(
    config: Config, log: AccessLog | None, tls: ssl.SSLContext | None, counters: CounterRow
) -> partial[HttpEndpoint]:
    """Return an HttpEndpoint that lacks its app."""
    from allcomers.connection.http.endpoint import HttpEndpoint

    return partial(
        HttpEndpoint,
        limits=config.limits,
        date=DateLine(),
        wall=time.time,
        report=_report_request,
        log=log,
        client=_client(config),
        clock=time.monotonic if config.server_timing or (log is not None and log.timed) else None,
        server_timing=config.server_timing,
        server=_server(config),
        tls=tls,
        counters=counters,
    )


def _http(
    shared: partial[HttpEndpoint],
    config: Config,
    handler: Handler,
    *,
    async_call: Callable[[Request, Asker], AsyncCall] | None = None,
    begin: Callable[[Request, Asker], Response | tuple[AsyncCall, Any]] | None = None,
    calls: str = "inline",
    life: Lifetime | None = None,
    serve: Callable[[Serving], None] | None = None,
) -> Endpoint:
    """Return the endpoint of an HTTP app. `handler`, `async_call` and `begin` are as in HttpEndpoint."""
    from allcomers.connection.http.http1 import Http1Connection
    from allcomers.connection.http.response_head import busy

    sends_in_call = calls == "inline" and not config.call_timeout
    http = shared(handler=handler, async_call=async_call, begin=begin, sends_in_call=sends_in_call)
    return Endpoint(
        scheme="https" if http.tls else "http",
        connect=partial(Http1Connection, http),
        serve=serve or _model(config),
        # Within TLS, plain bytes would look like a broken handshake.
        busy=b"" if http.tls else busy(http.date(time.monotonic()), http.server),
        calls=calls,
        life=life,
        http=http,
    )


def _server(config: Config) -> bytes:
    """Return the line of the Server field, or b"" for none."""
    from allcomers.protocol.encode import SERVER

    return SERVER if config.server_header else b""


def _client(config: Config) -> Callable[[Origin, RequestHead], Origin] | None:
    if not config.forwarded_allow_ips:
        return None
    from allcomers.protocol.forwarded import Proxies

    return Proxies(config.forwarded_allow_ips).client


def _model(config: Config) -> Callable[[Serving], None]:
    return models.get(config.model or models.best()).load()


# ------------------------------------------------------------ each kind of app


def _web(target: Any, config: Config, shared: partial[HttpEndpoint]) -> Endpoint:
    from allcomers.apps.web import as_handler

    # An app under asyncio runs code on that loop, which only calls in the loop's own thread can find.
    calls = config.calls or ("inline" if config.model == "asyncio" else "auto")
    try:
        return _http(shared, config, as_handler(target), calls=models.where(calls, config))
    except ConfigError as error:
        raise AppError(str(error)) from None
    except BaseException as error:  # a Web class is made here
        from allcomers.apps.loading import failure

        raise failure(f"making {target.__name__}()", error) from None


def _wsgi(target: Any, config: Config, shared: partial[HttpEndpoint]) -> Endpoint:
    from allcomers.apps.wsgi import app as wsgi

    model = models.get(config.model or models.best())
    calls = models.where(config.calls or "auto", config)
    if calls == "auto" and model.name == "asyncio":
        calls = "pool"  # Django and asgiref refuse to work in the thread of a running event loop
    handler = wsgi.handler(
        target,
        report=_report_request,
        root_path=config.root_path,
        multithread=_overlap(model.name, calls, config),
        multiprocess=config.workers > 1 or model.name == "process",
        inline=calls == "inline" and not config.call_timeout,
    )
    return _http(shared, config, handler, calls=calls)


def _overlap(model: str, calls: str, config: Config) -> bool:
    """Return whether two calls can run at once in one process."""
    if model == "process":
        return False
    if model == "iterative" or (config.threads == 1 and (calls != "inline" or model == "thread-pool")):
        return config.call_timeout > 0  # a call over its limit is abandoned, and the next one starts
    return calls != "inline" or model in ("thread", "thread-pool")


def _single(target: Any) -> Any:
    from allcomers.apps.asgi.asgi2 import single

    return single(target)


def _asgi(
    target: Any,
    config: Config,
    shared: partial[HttpEndpoint],
    request_replacement: Callable[[str], object],
    counters: CounterRow,
) -> Endpoint:
    from allcomers.apps.asgi.blocking import BlockingAsgi
    from allcomers.apps.asgi.dispatch import answer
    from allcomers.apps.asgi.eager import eager_calls
    from allcomers.apps.asgi.lifespan import Life, Lifespan
    from allcomers.apps.asgi.scope import FILE_EXTENSIONS, HTTP_EXTENSIONS
    from allcomers.system.asyncio_loops import new_event_loop, new_selector_loop

    model = models.get(config.model or "asyncio")
    lifespan = Lifespan(target, config.lifespan)
    extensions = HTTP_EXTENSIONS + (FILE_EXTENSIONS if config.asgi_pathsend else ())
    blocking = BlockingAsgi(target, config.root_path, _report_request, extensions, config.disconnect_grace)
    if model.events is None:
        events = new_selector_loop("SelectSelector")
        return _http(shared, config, blocking, life=Life(events, lifespan, blocking))
    serve_on = model.load_on()
    events = new_selector_loop(model.events) if model.events else new_event_loop()
    runtime = _runtime(target, config, events, extensions, counters)
    if config.call_timeout:
        from allcomers.calls.time_limit import TaskLimit

        runtime.limit = TaskLimit(config.call_timeout, request_replacement, events)
    return _http(
        shared,
        config,
        blocking,
        async_call=partial(answer, runtime),
        begin=eager_calls(runtime),
        life=Life(events, lifespan, runtime),
        serve=lambda serving: serve_on(serving, events),
    )


def _runtime(
    target: Any,
    config: Config,
    events: asyncio.AbstractEventLoop,
    extensions: tuple[str, ...],
    counters: CounterRow,
) -> AsgiRuntime:
    from importlib.util import find_spec

    from allcomers.apps.asgi.runtime import AsgiRuntime

    return AsgiRuntime(
        app=target,
        events=events,
        report=_report_request,
        root_path=config.root_path,
        limits=config.limits,
        server=_server(config),
        counters=counters,
        websocket=config.websocket_limits if find_spec("websockets") else None,
        extensions=extensions,
        disconnect_grace=config.disconnect_grace,
    )


# ------------------------------------------------------------ reports


def _report_request(error: BaseException, request: Request) -> None:
    # ascii: a client's bytes must not write lines of their own into the log.
    _logger.error("%s %s failed", request.method, ascii(request.target), exc_info=error)


def _report_peer(error: BaseException, peer: str) -> None:
    _logger.error("the service failed for %s", peer or "a local peer", exc_info=error)
