"""Handlers joined by path: routes({"/api/": Api, "/": Site("public")}).

This file maps a path to its handler. The rules of a match, so that nothing surprises:

- The path is the decoded one, as WSGI's PATH_INFO: "/%61pi/x" is "/api/x", and "%2F" is a "/" like any other.
- It is compared as it is. Nothing is collapsed, so "//api/" is not "/api/": it goes wherever "/" goes, or to 404.
- A path with a "." or ".." segment, however encoded, is refused with 400 before any handler sees it. Browsers remove
  such segments before they send a request (https://url.spec.whatwg.org/#double-dot-path-segment), and a handler that
  resolved one by itself would respond for a path that belongs to another.
- Case counts: "/API/" is not "/api/".

Keys with parameters ("/users/{id:int}") are matched by `patterns`, for tables that have some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from allcomers.apps.mounts import call_found, joinable, leaves_of
from allcomers.apps.web import HandlerObject
from allcomers.errors import ConfigError, HttpError
from allcomers.protocol.message import Handler, Request, Response

if TYPE_CHECKING:
    from allcomers.apps.patterns import Patterns

PATTERN_CHARACTERS = "<>*?#"
"""Characters of other routers' patterns, of queries and fragments, none of which are matched here: no key may have
them."""


def routes(table: Mapping[str, object]) -> Handler:
    """Join handlers to one: the longest key that the path starts with wins, wherever it stands in `table`.

    A key that ends in "/" matches the path and all below it: its handler sees the rest of the path, from its "/" on, as
    `request.path`, and the removed part, without a "/" at its end, added to `request.prefix`. A key without it matches
    exactly that path, and leaves both as they are. `request.prefix + request.path` is always the whole decoded path,
    and `request.target` stays as sent. Routes within routes work.

    A segment of a key may be a parameter: "/users/{id:int}/posts/{slug}". `request.params` has its value, of the type
    str, int, uuid or path; a literal segment comes before a parameter (patterns.py). What does not match is a 404.

    A value is a Web subclass (one instance is made of it here, also where several keys name it), a Web instance, any
    callable from Request to Response, or a WSGI or an ASGI app. Such an app finds the removed part in SCRIPT_NAME or
    root_path, and keeps its way to be called and, of ASGI, its lifespan: the server that loads the table calls it, and
    a Web class with async methods, too.

    "/api" where only "/api/" has a key gets 307 to "/api/" with its query (precedent: Go's ServeMux, also where "/" has
    a key). No key at all: 404. OPTIONS * gets 204 (RFC 9110 section 9.3.7 calls it a no-op). An HttpError becomes its
    small response.

    Raises ConfigError for a bad key, two keys that match the same paths, a Service, which has no paths, a value that is
    no handler, an empty table.
    """
    return _Routes(table)


class _Routes(HandlerObject):
    __slots__ = ("_exact", "_lengths", "_patterns", "_trees", "leaves")

    def __init__(self, table: Mapping[str, object]) -> None:
        if not isinstance(table, Mapping) or not table:
            raise ConfigError('routes: needs a dict with at least one path, as {"/": Site("public")}')
        made: dict[object, Handler] = {}
        handlers = {_checked_key(key): _made_once(key, value, made) for key, value in table.items()}
        self._exact = {key: handler for key, handler in handlers.items() if not key.endswith("/")}
        self._trees = {key: handler for key, handler in handlers.items() if key.endswith("/")}
        self.leaves = tuple(leaf for handler in handlers.values() for leaf in leaves_of(handler))
        self._lengths = sorted({len(key) for key in self._trees}, reverse=True)
        self._patterns = _patterns(handlers) if any("{" in key for key in handlers) else None

    def __repr__(self) -> str:
        return f"<routes {' '.join(sorted({*self._exact, *self._trees}))}>"

    def __call__(self, request: Request) -> Response:
        return call_found(self, request)

    def find(self, request: Request) -> Handler:
        """Return the leaf of `request` (mounts.Table): not called yet, for an ASGI app is called before a handler."""
        handler = self._find(request)
        return handler.find(request) if isinstance(handler, _Routes) else handler

    def _find(self, request: Request) -> Handler:
        path = request.path
        if "/." in path and _has_dots(path):
            raise HttpError(400, "A path with a . or .. segment is refused.")
        handler = self._exact.get(path)
        if handler:
            return handler
        if path + "/" in self._trees:
            return _to_folder
        if self._patterns is not None:
            if self._patterns.has_folder(path):
                return _to_folder
            handler = self._patterns.find(request)
            if handler:
                return handler
        return self._below(request, path)

    def _below(self, request: Request, path: str) -> Handler:
        # By the lengths of the keys, not by the path's own slashes: 30,000 of them cost no more than one.
        for length in self._lengths:
            key = path[:length]  # shorter than `length` where the path is
            handler = self._trees.get(key)
            if handler:
                request.prefix += key[:-1]
                request.path = path[len(key) - 1 :]
                return handler
        if path == "*" and request.method == "OPTIONS":
            return _no_op
        raise HttpError(404)


def _patterns(handlers: Mapping[str, Handler]) -> Patterns:
    from allcomers.apps.patterns import Patterns  # late: most tables have none

    return Patterns(handlers)


def _made_once(key: object, value: object, made: dict[object, Handler]) -> Handler:
    try:
        if not isinstance(value, type):
            return joinable(value)
        if value not in made:
            made[value] = joinable(value)
        return made[value]
    except ConfigError as error:
        raise ConfigError(f"routes: {key!r}: {error}") from None


def _checked_key(key: object) -> str:
    if not isinstance(key, str) or not key.startswith("/"):
        raise ConfigError(f'routes: the path {key!r} must be a str that begins with "/"')
    if wrong := _wrong(key):
        raise ConfigError(f"routes: the path {key!r} {wrong}")
    return key


def _wrong(key: str) -> str:
    if any(character in PATTERN_CHARACTERS for character in key):
        return f"has one of {PATTERN_CHARACTERS}: a parameter is a segment {{name}} or {{name:int}}"
    if "%" in key:
        from urllib.parse import unquote  # late, as in message.py

        if unquote(key) != key:
            return f"is percent-encoded: write it decoded, {unquote(key)!r}"
    if "//" in key or _has_dots(key):
        return "has an empty, . or .. segment"
    return "" if key.isprintable() else "has a control character"


def _has_dots(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))


def _no_op(request: Request) -> Response:
    return Response(status=204)


def _to_folder(request: Request) -> Response:
    # 307 and not 308: a browser keeps a permanent redirect for good, also for the next project that is served at the
    # same 127.0.0.1:8000. Both keep the method (RFC 9110 section 15.4.8). No segment of the path is empty, so it
    # cannot start with "//" and lead to another host.
    from urllib.parse import quote  # late, as in message.py

    query = request.query
    location = quote(f"{request.prefix}{request.path}/", errors="surrogateescape") + (f"?{query}" if query else "")
    return Response(status=307, headers=[("Location", location)])
