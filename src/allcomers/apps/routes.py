"""Handlers joined by path: routes({"/api/": Api, "/": Site("public")}).

This file maps a path to its handler. The rules of a match, so that nothing surprises:

- The path is the decoded one, as WSGI's PATH_INFO: "/%61pi/x" is "/api/x", and "%2F" is a "/" like any other.
- It is compared as it is. Nothing is collapsed, so "//api/" is not "/api/": it goes wherever "/" goes, or to 404.
- A path with a "." or ".." segment, however encoded, is refused with 400 before any handler sees it. Browsers remove
  such segments before they send a request (https://url.spec.whatwg.org/#double-dot-path-segment), and a handler that
  resolved one by itself would respond for a path that belongs to another.
- Case counts: "/API/" is not "/api/".
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from allcomers.apps.web import HandlerObject, as_handler, error_response
from allcomers.errors import ConfigError, HttpError
from allcomers.protocol.message import Handler, Request, Response

PATTERN_CHARACTERS = "<>{}*?#"
"""Characters of patterns, queries and fragments, none of which are matched here: no key may have them."""


def routes(table: Mapping[str, object]) -> Handler:
    """Join handlers to one: the longest key that the path starts with wins, wherever it stands in `table`.

    A key that ends in "/" matches the path and all below it: its handler sees the rest of the path, from its "/" on, as
    `request.path`, and the removed part, without a "/" at its end, added to `request.prefix`. A key without it matches
    exactly that path, and leaves both as they are. `request.prefix + request.path` is always the whole decoded path,
    and `request.target` stays as sent. Routes within routes work.

    A value is a Web subclass (one instance is made of it here, also where several keys name it), a Web instance, or any
    callable from Request to Response.

    "/api" where only "/api/" has a key gets 307 to "/api/" with its query (precedent: Go's ServeMux, also where "/" has
    a key). No key at all: 404. OPTIONS * gets 204 (RFC 9110 section 9.3.7 calls it a no-op). An HttpError becomes its
    small response.

    Raises ConfigError for a bad key, a value that is no handler, an empty table.
    """
    return _Routes(table)


class _Routes(HandlerObject):
    __slots__ = ("_exact", "_lengths", "_trees")

    def __init__(self, table: Mapping[str, object]) -> None:
        if not isinstance(table, Mapping) or not table:
            raise ConfigError('routes: needs a dict with at least one path, as {"/": Site("public")}')
        made: dict[object, Handler] = {}
        handlers = {_checked_key(key): _made_once(key, value, made) for key, value in table.items()}
        self._exact = {key: handler for key, handler in handlers.items() if not key.endswith("/")}
        self._trees = {key: handler for key, handler in handlers.items() if key.endswith("/")}
        self._lengths = sorted({len(key) for key in self._trees}, reverse=True)

    def __repr__(self) -> str:
        return f"<routes {' '.join(sorted({*self._exact, *self._trees}))}>"

    def __call__(self, request: Request) -> Response:
        try:
            return self._dispatch(request)
        except HttpError as error:
            return error_response(error)

    def _dispatch(self, request: Request) -> Response:
        path = request.path
        if "/." in path and _has_dots(path):
            raise HttpError(400, "A path with a . or .. segment is refused.")
        handler = self._exact.get(path)
        if handler:
            return handler(request)
        if path + "/" in self._trees:
            return _to_folder(request)
        return self._below(request, path)

    def _below(self, request: Request, path: str) -> Response:
        # By the lengths of the keys, not by the path's own slashes: 30,000 of them cost no more than one.
        for length in self._lengths:
            key = path[:length]  # shorter than `length` where the path is
            handler = self._trees.get(key)
            if handler:
                request.prefix += key[:-1]
                request.path = path[len(key) - 1 :]
                return handler(request)
        if path == "*" and request.method == "OPTIONS":
            return Response(status=204)
        raise HttpError(404)


def _made_once(key: object, value: object, made: dict[object, Handler]) -> Handler:
    try:
        if not isinstance(value, type):
            return as_handler(value)
        if value not in made:
            made[value] = as_handler(value)
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
        return f"has one of {PATTERN_CHARACTERS}: routes match plain paths, no patterns"
    if unquote(key) != key:
        return f"is percent-encoded: write it decoded, {unquote(key)!r}"
    if "//" in key or _has_dots(key):
        return "has an empty, . or .. segment"
    return "" if key.isprintable() else "has a control character"


def _has_dots(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))


def _to_folder(request: Request) -> Response:
    # 307 and not 308: a browser keeps a permanent redirect for good, also for the next project that is served at the
    # same 127.0.0.1:8000. Both keep the method (RFC 9110 section 15.4.8). The path consists of keys alone, so it
    # cannot start with "//" and lead to another host.
    query = request.query
    location = quote(f"{request.prefix}{request.path}/") + (f"?{query}" if query else "")
    return Response(status=307, headers=[("Location", location)])
