"""Class handlers: a class with get, post, put, delete ... becomes a Handler.

    class Hello(Web):
        def get(self, request):
            return f"Hello, {html.escape(request.args.get('name', 'you'))}"

This file maps an HTTP method to a method of the class, and the value that this returns to a Response. `routes` maps
paths to classes; the connection turns a Response into bytes (a HEAD's missing body, Content-Length, chunks).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from allcomers.errors import AnswerError, ConfigError, HttpError
from allcomers.protocol.message import FileSlice, Handler, Piece, Request, Response

if TYPE_CHECKING:
    from json import JSONEncoder

Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields as a method may give them."""

Content: TypeAlias = str | bytes | dict[Any, Any] | list[Any] | Iterable[str | Piece] | None
"""A value that becomes a body."""

Answer: TypeAlias = Content | Response | tuple[Content, int] | tuple[Content, int, Fields]
"""A value that a method of a Web class may return."""

COMMON = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that dispatch by default, in the order of an Allow field.

Precedent: Django's View and Flask's MethodView have these and TRACE. TRACE and the rest of the registry are left to
`extra_methods`: a helper called `update`, `search`, `copy`, `query` or `trace` is not meant to be public.
"""

_REGISTRY = """
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR
    MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY REBIND REPORT
    SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
"""
REGISTERED = frozenset(_REGISTRY.split())
"""https://www.iana.org/assignments/http-methods (RFC 9110 section 16.1.1): known, so 405 and not 501."""

HTML = "text/html; charset=utf-8"
OCTETS = "application/octet-stream"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"

_HTML_FIELDS = [("Content-Type", HTML)]  # copied for each Response, so none can change another's


class Web:
    """Subclass it and write `get`, `post`, `put`, `patch`, `delete`, `head`, `options`: each takes a Request.

    The value that a method returns, and the response:

    str            text/html; charset=utf-8 (precedent: Flask); a lone surrogate, which UTF-8 cannot encode, as "?"
    bytes          application/octet-stream; bytearray and memoryview too
    dict, list     application/json, compact, UTF-8 (RFC 8259); NaN and Infinity raise ValueError
    None           204, no body
    an iterable    (a generator) of str, bytes or FileSlice: streamed piece by piece. Its first piece, pulled within the
                   call, decides the type as above, unless the headers of a tuple name one. So an HttpError raised
                   before the first yield is still a proper response. Its `close` is called at the end.
    Response       as it is
    a tuple        (value, status) or (value, status, headers): value is one of the above but a Response;
                   a Content-Type in headers replaces the one above

    A method may be `async def`; then it may also return an async iterable, or be an async generator: streamed, too.

    Anything else raises AnswerError: the client gets a 500. HttpError(status, message), raised, becomes a small plain
    text response.

    HEAD falls back to `get`; OPTIONS gets Allow, also for "*"; a registered method that the class lacks
    gets 405 with Allow (RFC 9110 section 15.5.6), any other 501 (section 15.6.2). Method names are case-sensitive
    (section 9.1): `get` as sent on the wire is a 501. Only COMMON dispatches, and what `extra_methods` adds.

    One instance serves all requests of a worker: an attribute of `self` belongs to one worker process, is shared by its
    threads (so guard it with a lock where `--calls pool` or a thread model may run two calls at once), and is invisible
    to other workers.
    """

    extra_methods: ClassVar[tuple[str, ...]] = ()
    """Further registered methods that dispatch: ("PROPFIND", "VERSION-CONTROL") calls propfind, version_control."""

    _names: ClassVar[dict[str, str]] = {"OPTIONS": "options"}
    _allow: ClassVar[str] = "OPTIONS"

    is_async: ClassVar[bool] = False
    """Whether it has `async def` methods: then its calls are tasks of the loop (async_web.py)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names = _method_names(cls)
        waiting = {name for name in names.values() if _is_async(getattr(cls, name))}
        for name in waiting:
            setattr(cls, f"_pending_{name}", _pending(name))
        cls._names = {method: f"_pending_{name}" if name in waiting else name for method, name in names.items()}
        cls._allow = ", ".join(names)
        cls.is_async = bool(waiting)

    # PERF: 1.1 µs for a short str on top of the method's own call, of which making the Response is 0.8; a small dict
    # 5.3 µs or more: python bench/request/micro.py
    def __call__(self, request: Request) -> Response:
        """Return the response to `request`. Raises AnswerError, and whatever the method raises but HttpError."""
        name = self._names.get(request.method)
        if name is None:
            return self._no_method(request)
        try:
            value = getattr(self, name)(request)
            if type(value) is str:
                return Response.short(value.encode("utf-8", "replace"), _HTML_FIELDS)
            return _respond(value)
        except HttpError as error:
            return error_response(error)

    def options(self, request: Request) -> Answer:
        """Return 204 with Allow (RFC 9110 section 9.3.7); override it for CORS."""
        return Response(status=204, headers=[("Allow", self._allow)])

    def _no_method(self, request: Request) -> Response:
        if request.method in REGISTERED:
            return error_response(HttpError(405, headers=[("Allow", self._allow)]))
        return error_response(HttpError(501))


class HandlerObject:
    """Base of other classes whose instances are Handlers: detection serves them without a look at their parameters."""

    __slots__ = ()


def as_handler(target: object) -> Handler:
    """Return a Handler from a Web subclass (makes one instance, without arguments), a Web instance or any Handler.

    Raises ConfigError for anything else, and whatever the class's own __init__ raises.
    """
    if isinstance(target, type):
        if issubclass(target, Web):
            return target()
        raise ConfigError(f"{target.__name__} is a class but no Web: give an instance, {target.__name__}(...)")
    if not callable(target):
        raise ConfigError(f"{target!r} is no handler: give a Web class, or a callable from Request to Response")
    if _is_async(target):
        raise ConfigError(f"{target!r} is async: a handler is a plain def")
    return cast(Handler, target)


def with_secure_cookies(handler: Handler) -> Handler:
    """Return a handler whose responses set cookies for TLS alone, where their requests came by TLS (set_cookie)."""
    from allcomers.protocol.fields.cookies import made_secure

    def secured(request: Request) -> Response:
        response = handler(request)
        if request.scheme == "https" and isinstance(response, Response):
            response.headers = made_secure(response.headers)
        return response

    return secured


def error_response(error: HttpError) -> Response:
    """Return the small plain text response of an HttpError."""
    text = error.message or _phrase(error.status)
    return Response(
        f"{text}\n".encode("utf-8", "replace"),
        status=error.status,
        headers=[("Content-Type", PLAIN), *error.headers],
    )


def _phrase(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def _method_names(cls: type[Web]) -> dict[str, str]:
    """Map the HTTP methods that `cls` has to attribute names; by name, so that any descriptor works."""
    names = {}
    for method in (*COMMON, *_checked_extra(cls)):
        name = method.lower().replace("-", "_")
        if method == "HEAD" and not callable(getattr(cls, "head", None)):
            name = "get"
        if callable(getattr(cls, name, None)):
            names[method] = name
    return names


def _pending(name: str) -> Callable[[Web, Request], Response]:
    """Return a method that calls the async method `name`, and returns what is to be awaited."""

    def call(self: Web, request: Request) -> Response:
        return PendingResponse(getattr(self, name)(request))

    return call


def _checked_extra(cls: type[Web]) -> tuple[str, ...]:
    extra: Iterable[str] = cls.extra_methods
    if isinstance(extra, str):
        raise ConfigError(f"{cls.__name__}.extra_methods is a str: write ({extra!r},)")
    for method in extra:
        if method not in REGISTERED:
            raise ConfigError(f"{cls.__name__}.extra_methods: {method!r} is no registered HTTP method")
    return tuple(extra)


def is_async(handler: Handler) -> bool:
    """Return whether `handler` may return a PendingResponse: a Web with async methods, or routes that have one."""
    return bool(getattr(handler, "is_async", False))


def _is_async(function: object) -> bool:
    """Return True if a call returns a coroutine or an async generator (without the import of inspect, 10 ms)."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return bool(flags & (0x80 | 0x200))  # CO_COROUTINE, CO_ASYNC_GENERATOR


def _respond(value: object) -> Response:
    if isinstance(value, Response):
        return value
    if isinstance(value, tuple):
        content, status, fields = _unpacked(value)
        if content is None:
            return Response(status=status, headers=fields)
        return _with_body(content, status, fields)
    if value is None:
        return Response(status=204)
    return _with_body(value, 200, [])


def _unpacked(value: tuple[Any, ...]) -> tuple[object, int, list[tuple[str, str]]]:
    """Return (content, status, fields) of a tuple that a method returned."""
    if len(value) not in (2, 3) or not isinstance(value[1], int) or not 200 <= value[1] <= 599:
        raise AnswerError(f"a returned tuple is (value, status) or (value, status, headers), not {value!r:.80}")
    content, status, fields = value if len(value) == 3 else (*value, ())
    if isinstance(content, tuple | Response):
        raise AnswerError(f"a returned tuple begins with a plain value, not with a {type(content).__name__}")
    pairs = fields.items() if isinstance(fields, Mapping) else fields or ()
    return content, status, list(pairs)


def _with_body(value: object, status: int, fields: list[tuple[str, str]]) -> Response:
    typed = _has_type(fields)
    body, kind, close = _body(value, typed)
    if not typed:
        fields = [("Content-Type", kind), *fields]
    return Response(body, status=status, headers=fields, close=close)


def _has_type(fields: list[tuple[str, str]]) -> bool:
    """Return whether a Content-Type is among `fields`."""
    return any(name.lower() == "content-type" for name, _ in fields)


Close: TypeAlias = Callable[[], object] | None


def _body(value: object, typed: bool) -> tuple[Piece | Iterator[Piece], str, Close]:
    """Return (the body, its media type, its close() or None); `typed`: the media type is already known."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), HTML, None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), OCTETS, None
    if isinstance(value, dict | list):
        return _json(value), JSON, None
    if isinstance(value, Iterable):
        return _stream(value, typed)
    raise AnswerError(
        f"a handler returned {type(value).__name__}, not str, bytes, dict, list, None, an iterable, Response or tuple"
    )


def _json(value: object) -> bytes:
    try:
        return _json_encoder(False).encode(value).encode()
    except UnicodeEncodeError:
        # A lone surrogate (a path with %ff in it has one) has no UTF-8, but JSON can escape it.
        return _json_encoder(True).encode(value).encode()


@cache
def _json_encoder(ensure_ascii: bool) -> JSONEncoder:
    """Return a cached encoder: json.dumps makes a new one for each call with options, which costs 1.7 µs."""
    from json import JSONEncoder

    return JSONEncoder(ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"))


def _stream(value: Iterable[object], typed: bool) -> tuple[Iterator[Piece], str, Close]:
    pieces = iter(value)
    close: Close = getattr(value, "close", None)
    if typed:
        return map(_piece, pieces), OCTETS, close
    try:
        first = next(pieces, "")
        kind = HTML if isinstance(first, str) else OCTETS
        return chain((_piece(first),), map(_piece, pieces)), kind, close
    except BaseException:
        if close:  # no Response will call it
            close()
        raise


def _piece(piece: object) -> Piece:
    if isinstance(piece, str):
        return piece.encode("utf-8", "replace")
    if isinstance(piece, bytes | FileSlice):
        return piece
    raise AnswerError(f"a streamed response yielded {type(piece).__name__}, not str, bytes or FileSlice")


# ---------------------------------------------------------------- async methods


class PendingResponse(Response):
    """The response of an `async def` method, to be awaited: what a Web class returns for such a call."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        super().__init__()
        self._value = value

    def __await__(self) -> Generator[Any, Any, Response]:
        return _finish(self._value).__await__()


async def _finish(value: Any) -> Response:
    """Return the response of what an async method has returned. Raises AnswerError, and whatever the method raises but
    HttpError."""
    try:
        if isinstance(value, Awaitable):
            value = await value
        content, status, fields = _unpacked(value) if isinstance(value, tuple) else (value, 200, [])
        if isinstance(content, AsyncIterable):
            return await _streamed(content, status, fields)
        return _respond(value)
    except HttpError as error:
        return error_response(error)


class _Pieces:
    """The body of an async generator, whose first piece was pulled within the call: it decides the type."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: object, rest: AsyncIterator[object]) -> None:
        self._first = first
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[Piece]:
        yield _piece(self._first)
        async for piece in self._rest:
            yield _piece(piece)

    async def aclose(self) -> None:
        await close_pieces(self._rest)


async def close_pieces(pieces: object) -> None:
    """Run the `finally` of a generator now, not when it is collected."""
    if (aclose := getattr(pieces, "aclose", None)) is not None:
        await aclose()


async def _streamed(pieces: AsyncIterable[object], status: int, fields: list[tuple[str, str]]) -> Response:
    iterator = aiter(pieces)
    try:
        first = await anext(iterator, "")
    except BaseException:
        await close_pieces(iterator)
        raise
    if not _has_type(fields):
        fields = [("Content-Type", HTML if isinstance(first, str) else OCTETS), *fields]
    response = Response(status=status, headers=fields)
    response.body = _Pieces(first, iterator)
    return response
