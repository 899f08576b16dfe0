"""The app that `python -m bench middlewares` serves: each middleware around one that uses an extension of ASGI.

/NAME/EXTENSION goes through the middleware NAME. It is imported in an environment that has them all, and allcomers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

FILE = Path(__file__)
DATA = FILE.read_bytes()
EXTENSIONS = ("body", "pathsend", "zerocopysend", "early_hint", "trailers", "debug")
"""`body` is none: the same file as any server gets it."""


def start(*more: tuple[bytes, bytes], **keys: Any) -> Message:
    """Return a new one each time: middlewares change it."""
    headers = [(b"content-type", b"text/javascript"), *more]
    return {"type": "http.response.start", "status": 200, "headers": headers, **keys}


async def inner(scope: Message, receive: Any, send: Any) -> None:
    """Send the file, in the way that the path's last part names."""
    extension = scope["path"].rpartition("/")[2]
    kind = f"http.response.{extension}"
    if extension == "early_hint":
        await send({"type": kind, "links": [b"</a.css>; rel=preload"]})
    if extension == "debug":
        await send({"type": kind, "info": {"template": "a.html"}})
    if extension == "trailers":
        await send(start((b"trailer", b"x-sum"), trailers=True))
        await send({"type": "http.response.body", "body": DATA})
        await send({"type": kind, "headers": [(b"x-sum", b"1")]})
        return
    await send(start((b"content-length", b"%d" % len(DATA))))
    if extension == "pathsend":
        await send({"type": kind, "path": str(FILE)})
    elif extension == "zerocopysend":
        with FILE.open("rb") as file:
            await send({"type": kind, "file": file})
    else:
        await send({"type": "http.response.body", "body": DATA})


# The middlewares ---------------------------------------------------------------------------------------


def starlette_gzip() -> App:
    from starlette.middleware.gzip import GZipMiddleware

    return GZipMiddleware(inner, minimum_size=10)


def starlette_cors() -> App:
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(inner, allow_origins=["*"])


def starlette_base_http() -> App:
    from starlette.middleware.base import BaseHTTPMiddleware

    async def through(request: Any, follow: Any) -> Any:
        return await follow(request)

    return BaseHTTPMiddleware(inner, dispatch=through)


def starlette_sessions() -> App:
    from starlette.middleware.sessions import SessionMiddleware

    return SessionMiddleware(inner, secret_key="of a test")


def uvicorn_proxy_headers() -> App:
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    return ProxyHeadersMiddleware(inner)  # type: ignore[return-value, arg-type]


def sentry() -> App:
    import sentry_sdk
    from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

    sentry_sdk.init(dsn=None, traces_sample_rate=1.0)
    return SentryAsgiMiddleware(inner)


def opentelemetry() -> App:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider

    return OpenTelemetryMiddleware(inner, tracer_provider=TracerProvider())


def ddtrace() -> App:
    from ddtrace.contrib.asgi import TraceMiddleware

    return TraceMiddleware(inner)


def socketio() -> App:
    import socketio

    return socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi"), other_asgi_app=inner)


def slowapi_base_http() -> App:
    from slowapi.middleware import SlowAPIMiddleware

    return limited(SlowAPIMiddleware)


def slowapi_asgi() -> App:
    from slowapi.middleware import SlowAPIASGIMiddleware

    return limited(SlowAPIASGIMiddleware)


def limited(middleware: Any) -> App:
    from slowapi import Limiter
    from slowapi.util import get_remote_address

    app = mounted()
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=["1000000/minute"], headers_enabled=True)
    app.add_middleware(middleware)
    return app


def prometheus_fastapi_instrumentator() -> App:
    from prometheus_client import CollectorRegistry
    from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

    return PrometheusInstrumentatorMiddleware(mounted(), registry=CollectorRegistry())


def mounted() -> Any:
    """Put the app in an application whose routes a middleware may look for."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route("/{path:path}", Endpoint())])


class Endpoint:
    """Return `inner`, as Starlette wraps an app that answers by itself."""

    __name__ = "endpoint"

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)


def hypercorn_dispatcher() -> App:
    from hypercorn.middleware import DispatcherMiddleware

    return DispatcherMiddleware({"": inner})  # type: ignore[dict-item, return-value]


def newrelic() -> App:
    from newrelic.api.asgi_application import ASGIApplicationWrapper

    return ASGIApplicationWrapper(inner)


def asgi_correlation_id() -> App:
    from asgi_correlation_id import CorrelationIdMiddleware

    return CorrelationIdMiddleware(inner)


def secure() -> App:
    from secure import Secure
    from secure.middleware import SecureASGIMiddleware

    return SecureASGIMiddleware(inner, secure=Secure.with_default_headers())


def starlette_context() -> App:
    from starlette_context.middleware import RawContextMiddleware

    return RawContextMiddleware(inner)


def starlette_exporter() -> App:
    from starlette_exporter import PrometheusMiddleware

    app = mounted()
    app.add_middleware(PrometheusMiddleware, app_name="exporter", prefix="exporter")
    return app


def elastic_apm() -> App:
    import elasticapm
    from elasticapm.contrib.asgi import ASGITracingMiddleware

    elasticapm.Client(service_name="test", disable_send=True, central_config=False, cloud_provider="none")
    return ASGITracingMiddleware(inner)


def timing_asgi() -> App:
    from timing_asgi import TimingMiddleware
    from timing_asgi.interfaces import TimingClient

    class Client(TimingClient):
        def timing(self, metric_name: str, timing: float, tags: Any) -> None: ...

    return TimingMiddleware(inner, client=Client())


def asgi_logger() -> App:
    from asgi_logger import AccessLoggerMiddleware

    return AccessLoggerMiddleware(inner, logger=logging.getLogger("none"))


def starlette_compress() -> App:
    from starlette_compress import CompressMiddleware

    return CompressMiddleware(inner, minimum_size=10)


def brotli_asgi() -> App:
    from brotli_asgi import BrotliMiddleware

    return BrotliMiddleware(inner, minimum_size=10)


def starsessions() -> App:
    from starsessions import InMemoryStore, SessionAutoloadMiddleware, SessionMiddleware

    return SessionMiddleware(SessionAutoloadMiddleware(inner), store=InMemoryStore(), cookie_https_only=False)


def starlette_prometheus() -> App:
    from starlette_prometheus import PrometheusMiddleware

    app = mounted()
    app.add_middleware(PrometheusMiddleware)
    return app


def asgi_gzip() -> App:
    from asgi_gzip import GZipMiddleware

    return GZipMiddleware(inner, minimum_size=10)


MAKERS: tuple[Callable[[], App], ...] = (
    starlette_gzip, starlette_cors, starlette_base_http, starlette_sessions, uvicorn_proxy_headers, sentry,
    opentelemetry, ddtrace, socketio, slowapi_base_http, slowapi_asgi, prometheus_fastapi_instrumentator,
    hypercorn_dispatcher, newrelic, asgi_correlation_id, secure, starlette_context, starlette_exporter, elastic_apm,
    timing_asgi, asgi_logger, starlette_compress, brotli_asgi, starsessions, starlette_prometheus, asgi_gzip,
)  # fmt: skip
"""Order by how much each package is downloaded, starlette first."""

NAMES = tuple(make.__name__ for make in MAKERS)

made: dict[str, App | None] = {}


def middleware(name: str) -> App | None:
    """Return None for one that cannot be made here: it is not installed, or no middleware any more."""
    if name not in made:
        try:
            made[name] = MAKERS[NAMES.index(name)]()
        except Exception:
            logging.getLogger("bench").exception("%s cannot be made", name)
            made[name] = None
    return made[name]


async def app(scope: Message, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    wanted = middleware(scope["path"].split("/")[1])
    if wanted is None:
        await send({"type": "http.response.start", "status": 501, "headers": []})
        await send({"type": "http.response.body"})
        return

    async def without_debug(message: Message) -> None:
        """No server has this extension: here it ends, as a test client would take it."""
        if message["type"] != "http.response.debug":
            await send(message)

    scope["extensions"]["http.response.debug"] = {}
    await wanted(scope, receive, without_debug)
