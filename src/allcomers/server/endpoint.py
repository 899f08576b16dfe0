"""From a target and a Config to what connects peers. What kind of app it is, `interface` finds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from allcomers import models
from allcomers.apps import detection
from allcomers.config.options import Config
from allcomers.connection.base import Address, Connection
from allcomers.errors import AppError, ConfigError
from allcomers.server.clock import DateLine
from allcomers.server.keys import HTTP, Keys, certificates
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    import ssl

    from allcomers.connection.http.async_call import Asker, AsyncCall
    from allcomers.connection.http.endpoint import HttpEndpoint, Origin
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.models.driver.serving import Serving
    from allcomers.protocol.head import RequestHead
    from allcomers.protocol.message import Handler, Request, Response
    from allcomers.server.access_log import AccessLog

_logger = logging.getLogger("allcomers.app")


class Lifetime(Protocol):
    """What is to be done before the first peer and after the last."""

    def begin(self, listen: Callable[[], object]) -> None: ...
    def end(self, patience: float) -> None: ...


class Endpoint(NamedTuple):
    """What peers connect to, and how they are waited for.

    scheme   of its addresses: "http", "https", "tcp", "tls"
    connect  (peer's address, now) to a Connection
    serve    the model
    busy     what a peer is told that cannot be served
    calls    where calls run
    is_async bool: calls are tasks of the model's event loop, whatever --calls says, and have their time limit there
    life     of an async app; None where nothing is to be done
    http, service  what answers the peers: one of the two
    """

    scheme: str
    connect: Callable[[Address, float], Connection]
    serve: Callable[[Serving], None]
    busy: bytes = b""
    calls: str = "inline"
    is_async: bool = False
    life: Lifetime | None = None
    http: HttpEndpoint | None = None
    service: ServiceEndpoint | None = None


class App(NamedTuple):
    """What answers HTTP requests: `async_call`, if there is one, on the event loop of its model; else `handler`.

    begin  as HttpEndpoint has it

    serve  the model, where it must run on a certain event loop
    calls  where calls run, unless --calls says it
    """

    handler: Handler
    async_call: Callable[[Request, Asker], AsyncCall] | None = None
    begin: Callable[[Request, Asker], Response | tuple[AsyncCall, Any]] | None = None
    life: Lifetime | None = None
    serve: Callable[[Serving], None] | None = None
    calls: str = "inline"


def endpoint(
    target: Any,
    config: Config,
    log: AccessLog | None,
    keys: Keys | None = None,
    request_replacement: Callable[[str], object] = lambda why: None,
    counters: CounterRow | None = None,
) -> Endpoint:
    """What serves `target`.

    keys             where certificates are had from, if not by reading their files now
    request_replacement  asks that another worker takes the place of this one, and says why
    counters             where what is done is counted; by default one that nobody else sees

    Raises AppError where it is nothing that can be served, ConfigError for a bad certificate.
    """
    kind, found = detection.detect(target, config)
    keys = keys or partial(certificates, config)
    counters = counters or CounterRow()
    if kind == "service":
        peers = _service(found, config, keys(()), counters)
    else:
        app = _app(kind, found, config, request_replacement, counters)
        peers = _http(app, config, log, keys(HTTP), counters)
    if config.proxy_protocol:
        from allcomers.connection.proxy_header import with_proxy_header

        return peers._replace(connect=with_proxy_header(peers.connect))
    return peers


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


def _app(
    kind: str, target: Any, config: Config, request_replacement: Callable[[str], object], counters: CounterRow
) -> App:
    if kind == "wsgi":
        return _wsgi(target, config)
    if kind in ("asgi", "asgi2"):
        return _asgi(_single(target) if kind == "asgi2" else target, config, request_replacement, counters)
    return _web(target, config)


def _http(
    app: App, config: Config, log: AccessLog | None, tls: ssl.SSLContext | None, counters: CounterRow
) -> Endpoint:
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.http.http1 import HttpConnection
    from allcomers.connection.http.response_head import busy

    date, server = DateLine(), _server(config)
    too_many = b"" if tls else busy(date(time.monotonic()), server)  # in TLS it would look like a broken handshake
    http = HttpEndpoint(
        handler=app.handler,
        async_call=app.async_call,
        begin=app.begin,
        limits=config.limits,
        date=date,
        wall=time.time,
        report=_report_request,
        log=log,
        client=_client(config),
        clock=time.monotonic if config.server_timing or (log is not None and log.timed) else None,
        server_timing=config.server_timing,
        server=server,
        tls=tls,
        counters=counters,
        sends_in_call=app.calls == "inline" and not config.call_timeout,
    )
    return Endpoint(
        scheme="https" if tls else "http",
        connect=partial(HttpConnection, http),
        serve=app.serve or _model(config),
        busy=too_many,
        calls=app.calls,
        is_async=app.async_call is not None,
        life=app.life,
        http=http,
    )


def _server(config: Config) -> bytes:
    from allcomers.connection.http.response_head import SERVER

    return SERVER if config.server_header else b""


def _client(config: Config) -> Callable[[Origin, RequestHead], Origin] | None:
    if not config.forwarded_allow_ips:
        return None
    from allcomers.protocol.forwarded import Proxies

    return Proxies(config.forwarded_allow_ips).client


def _model(config: Config) -> Callable[[Serving], None]:
    return models.get(config.model or models.best()).load()


def _web(target: Any, config: Config) -> App:
    from allcomers.apps.web import as_handler

    # Who chooses asyncio has something to run on its loop, and that is found in the loop's own thread only.
    calls = config.calls or ("inline" if config.model == "asyncio" else "auto")
    try:
        return App(handler=as_handler(target), calls=models.where(calls, config))
    except ConfigError as error:
        raise AppError(str(error)) from None
    except BaseException as error:  # a Web class is made here
        from allcomers.apps.loading import failure

        raise failure(f"making {target.__name__}()", error) from None


def _wsgi(target: Any, config: Config) -> App:
    from allcomers.apps.wsgi import app as wsgi

    model = models.get(config.model or models.best())
    calls = models.where(config.calls or "auto", config)
    if calls == "auto" and model.name == "asyncio":
        calls = "pool"  # Django and asgiref refuse to work in the thread of an event loop that runs
    handler = wsgi.handler(
        target,
        report=_report_request,
        root_path=config.root_path,
        multithread=_overlap(model.name, calls, config),
        multiprocess=config.workers > 1 or model.name == "process",
        inline=calls == "inline" and not config.call_timeout,
    )
    return App(handler=handler, calls=calls)


def _overlap(model: str, calls: str, config: Config) -> bool:
    """May two calls run at once in one process?"""
    if model == "process":
        return False
    if model == "iterative" or (config.threads == 1 and (calls != "inline" or model == "thread-pool")):
        return config.call_timeout > 0  # a call that takes too long is left alone, and the next one begins
    return calls != "inline" or model in ("thread", "thread-pool")


def _single(target: Any) -> Any:
    from allcomers.apps.asgi.asgi2 import single

    return single(target)


def _asgi(target: Any, config: Config, request_replacement: Callable[[str], object], counters: CounterRow) -> App:
    from importlib.util import find_spec

    from allcomers.apps.asgi.blocking import BlockingAsgi
    from allcomers.apps.asgi.dispatch import answer
    from allcomers.apps.asgi.eager import eager_calls
    from allcomers.apps.asgi.lifespan import Life, Lifespan
    from allcomers.apps.asgi.runtime import AsgiRuntime
    from allcomers.apps.asgi.scope import FILE_EXTENSIONS, HTTP_EXTENSIONS
    from allcomers.system.asyncio_loops import new_event_loop, new_selector_loop

    model = models.get(config.model or "asyncio")
    lifespan = Lifespan(target, config.lifespan)
    extensions = HTTP_EXTENSIONS + (FILE_EXTENSIONS if config.asgi_pathsend else ())
    blocking = BlockingAsgi(target, config.root_path, _report_request, extensions, config.disconnect_grace)
    if model.events is None:
        return App(handler=blocking, life=Life(new_selector_loop("SelectSelector"), lifespan, blocking))
    serve_on = model.load_on()
    events = new_selector_loop(model.events) if model.events else new_event_loop()
    runtime = AsgiRuntime(
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
    if config.call_timeout:
        from allcomers.calls.time_limit import TaskLimit

        runtime.limit = TaskLimit(config.call_timeout, request_replacement, events)
    return App(
        handler=blocking,
        async_call=partial(answer, runtime),
        begin=eager_calls(runtime),
        life=Life(events, lifespan, runtime),
        serve=lambda serving: serve_on(serving, events),
    )


def _report_request(error: BaseException, request: Request) -> None:
    # repr: what a client sent must not write lines of its own into the log.
    _logger.error("%s %s failed", request.method, ascii(request.target), exc_info=error)


def _report_peer(error: BaseException, peer: str) -> None:
    _logger.error("the service failed for %s", peer or "a local peer", exc_info=error)
