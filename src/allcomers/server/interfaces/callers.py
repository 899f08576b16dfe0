"""What calls an app of WSGI or ASGI: its handler, or its runtime on an event loop; by the options of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers import models
from allcomers.config.options import Config
from allcomers.errors import ConfigError
from allcomers.system import descriptors
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    import asyncio

    from allcomers.apps.asgi.blocking import BlockingAsgi
    from allcomers.apps.asgi.runtime import AsgiRuntime
    from allcomers.apps.compression.policy import Policy
    from allcomers.connection.http.async_call import Asker, AsyncCall
    from allcomers.connection.http.endpoint import Begin
    from allcomers.models.driver.serving import Serving
    from allcomers.protocol.message import Handler, Request, Response

_logger = logging.getLogger("allcomers.app")


def wsgi_calls(config: Config) -> str:
    """Return where the calls of a WSGI app run."""
    calls = models.where(config.calls or "auto", config)
    if calls == "auto" and config.model == "asyncio":
        return "pool"  # Django and asgiref refuse to work in the thread of a running event loop
    return calls


def wsgi_handler(target: Any, config: Config, calls: str, *, mounted: bool = False) -> Handler:
    from allcomers.apps.wsgi import app as wsgi

    model = config.model or models.best()
    return wsgi.handler(
        target,
        mounted=mounted,
        report=report(config),
        root_path=config.root_path,
        multithread=_overlap(model, calls, config),
        multiprocess=config.workers > 1 or model == "process",
        inline=calls == "inline" and not config.call_limit,
    )


def _overlap(model: str, calls: str, config: Config) -> bool:
    """Return whether two calls can run at once in one process."""
    if model == "process":
        return False
    if model == "iterative" or (config.threads == 1 and (calls != "inline" or model == "thread-pool")):
        return config.call_limit > 0  # a call over its limit is abandoned, and the next one starts
    return calls != "inline" or model in ("thread", "thread-pool", "gevent")


def event_loop(
    config: Config, events: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, Callable[[Serving], None] | None]:
    """Return the event loop of async apps, and the model on it; None for a blocking model, whose loop only starts and
    ends them. Raises ConfigError for a model without an event loop and without threads."""
    from allcomers.system.asyncio_loops import new_event_loop, new_selector_loop

    model = models.get(config.model or "asyncio")
    if model.is_patched:
        raise ConfigError(f"--model {model.name} serves no async app: leave it out, or use --model asyncio")
    if model.events is None:
        return new_selector_loop("SelectSelector"), None
    serve_on = model.load_on()
    found = events or (new_selector_loop(model.events) if model.events else new_event_loop())
    return found, lambda serving: serve_on(serving, found)


def _extensions(target: Any, config: Config) -> tuple[str, ...]:
    from allcomers.apps.asgi.scope import FILE_EXTENSIONS, HTTP_EXTENSIONS

    is_ours = getattr(target, "sends_files", False) is True  # AsgiHandler, which few servers import
    knows = config.asgi_pathsend or is_ours
    return HTTP_EXTENSIONS + (FILE_EXTENSIONS[: 1 if config.compress else 2] if knows else ())


def blocking_app(target: Any, config: Config) -> BlockingAsgi:
    from allcomers.apps.asgi.blocking import BlockingAsgi

    return BlockingAsgi(target, config.root_path, report(config), _extensions(target, config), config.disconnect_grace)


def runtime(
    target: Any,
    config: Config,
    events: asyncio.AbstractEventLoop,
    counters: CounterRow,
    request_replacement: Callable[[str], object],
) -> AsgiRuntime:
    from importlib.util import find_spec

    from allcomers.apps.asgi.runtime import AsgiRuntime

    made = AsgiRuntime(
        app=target,
        events=events,
        report=report(config),
        root_path=config.root_path,
        limits=config.limits,
        server=server_field(config),
        counters=counters,
        websocket=config.websocket_limits if find_spec("websockets") else None,
        extensions=_extensions(target, config),
        disconnect_grace=config.disconnect_grace,
        gathers=config.gather,
    )
    if config.call_timeout:
        from allcomers.calls.time_limit import TaskLimit

        made.limit = TaskLimit(config.call_timeout, request_replacement, events)
    return made


def async_calls(runtime: AsgiRuntime, config: Config) -> tuple[Callable[[Request, Asker], AsyncCall], Begin]:
    """Return `async_call` and `begin`, as in HttpEndpoint."""
    from allcomers.apps.asgi.dispatch import answer
    from allcomers.apps.asgi.eager import eager_calls

    if policy := compression(config):
        from allcomers.apps.asgi.compressed import CompressedCall, compressed_calls

        make = partial(CompressedCall, policy)
        return partial(answer, runtime, make=make), compressed_calls(runtime, policy, eager_calls(runtime, make))
    return partial(answer, runtime), eager_calls(runtime)


def compression(config: Config) -> Policy | None:
    """Return what is to be compressed; None for nothing."""
    if not config.compress:
        return None
    from allcomers.apps.compression.codings import available
    from allcomers.apps.compression.policy import Policy

    return Policy(available(), secrets=config.compress_secrets, private=bool(config.ca_certs))


def server_field(config: Config) -> bytes:
    """Return the line of the Server field, b"" for none, and after it those of --header."""
    from allcomers.protocol.encode import SERVER, field_lines

    own = SERVER if config.server_header else b""
    return field_lines(own, (field.split(":", 1) for field in config.header)) if config.header else own


def report(config: Config) -> Callable[[BaseException, Request], Response | None]:
    """Return the function that logs an app's exception, and with --debug returns the page that shows it."""
    if not config.debug:
        return _report_request
    from allcomers.apps import debug_page

    def shown(error: BaseException, request: Request) -> Response | None:
        _report_request(error, request)
        return debug_page.page(error, request)

    return shown


def _report_request(error: BaseException, request: Request) -> None:
    descriptors.note(error)
    # ascii: a client's bytes must not write lines of their own into the log.
    _logger.error("%s %s failed", request.method, ascii(request.target), exc_info=error)
