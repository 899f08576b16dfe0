"""Handlers and apps whose responses are counted by route.

The time of a request here is its app's: from the call until the response begins. A route is a template of the app's
framework; without one it is the first segment of the path, "/users/*". What is answered 404 is one route of its own,
since clients make up its paths.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers.apps.by_route.templates import of_app
from allcomers.errors import HttpError
from allcomers.protocol.message import Handler, Request, Response
from allcomers.system.diagnostics.route_board import LONGEST, RouteCounts

if TYPE_CHECKING:
    from allcomers.apps.asgi.call.messages import Message
    from allcomers.apps.asgi.runtime import App
    from allcomers.apps.asgi.scope import Scope

NONE: Final = "(not found)"

_current: Final[ContextVar[Request]] = ContextVar("request")
"""The request of the call that runs."""


def first_segment(path: str) -> str:
    """Return the route of a path that has no template: "/users/*" for "/users/7"."""
    first, slash, _ = path[1:].partition("/")
    return f"/{first}/*" if slash else f"/{first}"


def _named(template: str, path: str, status: int) -> str:
    name = template or (NONE if status == 404 else first_segment(path))
    if len(name) <= LONGEST and name.isascii():
        return name
    return name.encode("ascii", "backslashreplace")[:LONGEST].decode()


class CountedHandler:
    """A handler whose responses are counted by route."""

    def __init__(self, handler: Handler, counts: RouteCounts) -> None:
        self._handler = handler
        self._counts = counts

    def __call__(self, request: Request) -> Response:
        path, began, status = request.path, monotonic(), 500
        token = _current.set(request)
        try:
            response = self._handler(request)
            status = response.status
        except HttpError as error:
            status = error.status
            raise
        finally:
            _current.reset(token)
            self._counts.answered(_named(request.route, path, status), status, monotonic() - began)
        return response


def named_wsgi(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI app that tells its request the template: when the response begins, for Flask forgets it later."""
    template = of_app(app)

    def called(environ: dict[str, Any], start_response: Any) -> Any:
        def start(*given: Any) -> Any:
            _current.get().route = template(environ)
            return start_response(*given)

        return app(environ, start)

    return called


class CountedAsgi:
    """An ASGI app whose responses are counted by route.

    sends_files  as the app has it (apps.async_web)
    """

    def __init__(self, app: App, counts: RouteCounts) -> None:
        self._app = app
        self._counts = counts
        self._template = of_app(app)
        self.sends_files = getattr(app, "sends_files", False) is True

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, began, status = scope["path"], monotonic(), 0

        def count(found: int) -> None:
            nonlocal status
            status = found
            self._counts.answered(_named(self._template(scope), path, found), found, monotonic() - began)

        async def counted(message: Message) -> None:
            if not status and message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            if not status:
                count(500)
            raise


def handler(app: Handler, counts: RouteCounts | None) -> Handler:
    """Return a handler whose responses are counted; `app` itself where nobody counts."""
    return app if counts is None else CountedHandler(app, counts)


def wsgi(app: Any, counts: RouteCounts | None) -> Any:
    """Return a WSGI app that tells its template, for handler(); `app` itself where nobody counts."""
    return app if counts is None else named_wsgi(app)


def asgi(app: App, counts: RouteCounts | None) -> App:
    """Return an ASGI app whose responses are counted; `app` itself where nobody counts."""
    return app if counts is None else CountedAsgi(app, counts)
