"""WSGI and ASGI apps in `routes`: found when the table is made, called by the endpoint that serves it.

A table finds the leaf of a request: a handler, or a Mount, the place of such an app.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from allcomers.apps import detection
from allcomers.apps.web import HandlerObject, as_handler, error_response, is_async
from allcomers.config.options import Config
from allcomers.errors import AnswerError, AppError, ConfigError, HttpError
from allcomers.protocol.message import Handler, Request, Response

_KINDS: Final = "a handler (request), a WSGI app (environ, start_response) or an ASGI app (scope, receive, send)"


class Table(Protocol):
    """What maps a request to one of its leaves."""

    @property
    def leaves(self) -> Iterable[Handler]:
        """All of them."""
        ...

    def find(self, request: Request) -> Handler:
        """Return the leaf of `request`, whose prefix and path are then as the leaf is to see them. Raises HttpError."""
        ...


class Mount(HandlerObject):
    """A WSGI or an ASGI app in the place of a handler.

    kind  "wsgi", "asgi" or "asgi2"
    """

    __slots__ = ("app", "kind")

    def __init__(self, kind: str, app: Any) -> None:
        self.kind = kind
        self.app = app

    def __repr__(self) -> str:
        return f"<{self.kind} app {self.app!r}>"

    def __call__(self, request: Request) -> Response:
        raise AnswerError("an app in routes() is called by the server: let TARGET be what routes() returns")


def joinable(value: object) -> Handler:
    """Return the handler of a value of `routes`: its own, or a Mount. Raises ConfigError for what cannot be joined."""
    try:
        kind, _ = detection.detect(value, Config())
    except AppError:
        handler = as_handler(value)  # says in a handler's words what is wrong
        if detection.is_readable(handler):
            raise ConfigError(f"{value!r} takes other arguments than {_KINDS}") from None
        return handler
    if kind == "service":
        raise ConfigError("a Service has no paths, but a protocol of its own: serve it alone, at its own address")
    return leaf(kind, value)


def leaf(kind: str, value: object) -> Handler:
    """Return the leaf of a target of this kind. Raises ConfigError for what is no handler."""
    if kind != "web":
        return Mount(kind, value)
    handler = as_handler(value)
    if not is_async(handler):
        return handler
    from allcomers.apps.async_web import AsgiHandler

    return Mount("asgi", AsgiHandler(handler))


def leaves_of(handler: Handler) -> Iterable[Handler]:
    """Return the leaves of a table, or the handler itself."""
    found: Iterable[Handler] = getattr(handler, "leaves", (handler,))
    return found


def call_found(table: Table, request: Request, handlers: Mapping[int, Handler] | None = None) -> Response:
    """Return the response of the leaf of `request`. `handlers`: of Mounts, by the id() of their app."""
    try:
        found = table.find(request)
        if handlers and isinstance(found, Mount):
            found = handlers[id(found.app)]
        return found(request)
    except HttpError as error:
        return error_response(error)
