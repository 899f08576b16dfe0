"""WSGI apps: an application of PEP 3333 becomes a Handler.

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Hello\\n"]

This file calls the app and makes a Response of its result. `environ` describes the request to it; the connection turns
a Response into bytes (Content-Length, chunks, a HEAD's missing body).

The app's iterable is pulled within the call up to its first block that is not empty: until then the app may still
change status and headers, and an exception is a clean 500. Each further block is a call of its own, in the same thread
(calls/outflow.py), and so is close(). With `--calls inline` and a model with a loop, other requests run in between, in
that thread; so each request has a context of its own (contextvars), in which the app's call, all its blocks and its
close() run. Flask's `request` is such a variable: a generator that uses it finds its own.

A response whose first block is as long as its Content-Length is whole: no further block is pulled (PEP 3333, "Handling
the Content-Length Header"), and the response is sent in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from io import BytesIO
from itertools import chain
from time import monotonic
from typing import Any, Final, TypeAlias

from allcomers.apps.wsgi.environ import Environ, Environs, key_of, known_keys
from allcomers.apps.wsgi.file_wrapper import FileWrapper
from allcomers.apps.wsgi.socket_upgrade import QUIET, NoSocket, UpgradedSocket, offer, outcome
from allcomers.apps.wsgi.start_response import StartResponse
from allcomers.errors import AnswerError
from allcomers.protocol import compiled
from allcomers.protocol.body import SPOOL_AT, Body
from allcomers.protocol.message import SMALL, FileSlice, Handler, Piece, Request, Response

App: TypeAlias = Callable[[Environ, Callable[..., Callable[[bytes], None]]], Iterable[bytes]]
"""A WSGI application; its result may have a close()."""

Close: TypeAlias = Callable[[], object] | None

JOINED: Final = 64 * 1024
"""Bytes of a list of blocks up to which they are sent as one: all of them exist, so nothing is delayed."""

SLOW: Final = 0.005
"""Seconds of a close() from which on the client should not wait for it."""

_DEFERRED_CLOSES: Final = 1000
"""Responses after a slow close() whose close() runs once they are sent."""

_END: Final = object()


class Wsgi:
    """A Handler that calls a WSGI application.

    root_path, multithread, multiprocess  as Environs has them
    inline  the thread that runs a call sends its response, too: close() may run there once the response is sent
    report  called with an exception of an app's close()
    """

    def __init__(
        self,
        app: App,
        *,
        report: Callable[[BaseException, Request], object],
        root_path: str = "",
        multithread: bool = False,
        multiprocess: bool = False,
        inline: bool = False,
    ) -> None:
        self._app = app
        self._report = report
        self._inline = inline
        self._deferred_closes = 0  # still to come
        self.environs = Environs(
            root_path=root_path,
            multithread=multithread,
            multiprocess=multiprocess,
            file_wrapper=FileWrapper,
        )

    def __call__(self, request: Request) -> Response:
        """Return the response to `request`. Raises AnswerError if it breaks PEP 3333, and whatever the app raises."""
        environ = self.environs(request)
        found = offer(environ, request) if request.upgrades else None
        return self._call(request, environ) if found is None else self._call_with_socket(request, environ, found)

    def _call(self, request: Request, environ: Environ) -> Response:
        state = StartResponse()
        state.request = request
        run = copy_context().run
        try:
            result = run(self._app, environ, state.start)
        except BaseException:
            self.give_up(request, state)
            raise
        return self.respond(request, state, result, run)

    def _call_with_socket(self, request: Request, environ: Environ, found: UpgradedSocket) -> Response:
        """Call an app that may use its client's socket itself: then its result is not sent.

        Raises ClientGone where it did, HttpError where it tried and had none.
        """
        try:
            response = self._call(request, environ)
            if not found.taken:
                return response
            if response.close is not None:
                response.close()
        except BaseException as error:
            if not found.taken:
                raise
            if not isinstance(found, NoSocket) and not isinstance(error, QUIET):
                self._report(error, request)
        raise outcome(found)

    def respond(self, request: Request, state: StartResponse, result: Any, run: Callable[..., Any]) -> Response:
        """Return the response of an app's result. Raises AnswerError, and whatever the app's iterable raises."""
        close: Close = None
        closes_file = False
        try:
            app_close = getattr(result, "close", None)
            if app_close is not None:
                closes_file = type(result) is FileWrapper and result.closes_file
                close = app_close if closes_file else partial(run, app_close)
            pieces, rest = _first_pieces(state, result, run)
            if close is not None and closes_file and rest is None and isinstance(pieces[0], bytes):
                close()  # it was read to its end, and runs no code of the app
                close = None
        except BaseException:
            self.give_up(request, state, close)
            raise
        return self.begin(request, state, pieces, rest, close)

    def begin(
        self, request: Request, state: StartResponse, pieces: list[Piece], rest: Iterator[Piece] | None, close: Close
    ) -> Response:
        """Return the response that begins with `pieces`; `rest` gives further ones, if there are any. Raises
        AnswerError."""
        try:
            if state.written is not None:
                close = partial(_close_both, close, state.written)
            if state.pushed is not None:
                return _stream(state, chain(filter(None, pieces), rest or ()), close)
            if rest is None:
                return self._whole(request, state, pieces[0], close)
            return _stream(state, chain(pieces, rest), close)
        except BaseException:
            self.give_up(request, state, close)
            raise

    def _whole(self, request: Request, state: StartResponse, body: Piece, close: Close) -> Response:
        """Return the response with a whole body."""
        size, length = len(body), state.length
        response = Response.short(body, state.fields)
        response.status = state.checked_status
        response.close = close
        if length is None:
            if not size and request.method == "HEAD":
                response.body = ()  # the length of GET's body is unknown
                return response
            length = size
        if close is not None and not self._inline and not _closes_what_is_sent(body, close):
            self._close_in_call(request, response, close)
        if length == size and response.body is body:
            return response
        response.headers.append(("Content-Length", str(length)))
        return response

    def _close_in_call(self, request: Request, response: Response, close: Callable[[], object]) -> None:
        """Run close() in the thread of the call: now, or in a further call, once the response is sent.

        PERF: a further call needs a wake-up of the thread once the response is sent, which costs as much as all the
        work here for a request (9 and 10 µs, bench/request/micro.py). So a quick close() runs before the response is
        sent. A slow one, as of work that an app leaves for after the response, runs afterwards.
        """
        run = partial(self._close, request, close)
        body = response.body
        if self._deferred_closes or isinstance(body, FileSlice):
            self._deferred_closes = max(0, self._deferred_closes - 1)
            response.body = (body,) if body else ()
            response.close = run
        else:
            response.close = None
            run()

    def _close(self, request: Request, close: Callable[[], object]) -> None:
        """Run an app's close(), and measure its time."""
        started = monotonic()
        try:
            close()
        except BaseException as error:
            self._report(error, request)
        if monotonic() - started > SLOW:
            self._deferred_closes = _DEFERRED_CLOSES

    def give_up(self, request: Request, state: StartResponse, close: Close = None) -> None:
        """Close the app's result and files, for which there will be no Response."""
        try:
            if close is not None:
                close()
        except BaseException as error:
            self._report(error, request)
        finally:
            if state.written is not None:
                state.written.close()


def handler(app: App, *, mounted: bool = False, **options: Any) -> Handler:
    """Return a Handler for `app`, with the options of a Wsgi: the compiled leaf, if there is one, for common calls.

    mounted  requests may have a prefix and parameters, which the leaf does not know
    """
    wsgi = Wsgi(app, **options)
    if not compiled.COMPILED:
        return wsgi
    from allcomers.apps.wsgi._app import Common

    common = Common(
        wsgi,
        app,
        wsgi.environs.templates,
        StartResponse,
        Response,
        known_keys,
        key_of,
        BytesIO,
        FileWrapper,
        _iterate,
        _first,
        first_pieces,
    )
    return (lambda request: (wsgi if request.prefix or request.params else common)(request)) if mounted else common


def _stream(state: StartResponse, pieces: Iterator[Piece], close: Close) -> Response:
    """Return the response with a streamed body."""
    response = state.partial_response(pieces)
    response.close = close
    return response


def _first_pieces(
    state: StartResponse, result: Iterable[bytes], run: Callable[..., Any]
) -> tuple[list[Piece], Iterator[Piece] | None]:
    """Return the pieces to send first, at least one, and an iterator of further ones; None where there are none.

    Raises AnswerError, and whatever the app's iterable raises.
    """
    if state.written is None and state.pushed is None:
        if isinstance(result, list | tuple) and (joined := _joined(result)) is not None:
            return [joined], None
        if type(result) is FileWrapper and (file := result.slice()) is not None:
            data = file.whole(SMALL)  # which is closed in this call
            return [file if data is None else data], None
    blocks = run(_iterate, result)
    return first_pieces(state, run(_first, blocks), iter(partial(run, next, blocks, _END), _END))


def first_pieces(
    state: StartResponse, first: bytes, rest: Iterator[Piece]
) -> tuple[list[Piece], Iterator[Piece] | None]:
    """Return the same for an iterable whose first block that is not empty is this; b"" for none."""
    state.sent = True
    pieces: list[Piece] = [first] if first else []
    if state.written is not None:
        pieces.insert(0, _spooled(state.written))
    if not first or (state.written is None and state.pushed is None and len(first) == state.length):
        return pieces or [b""], None
    return pieces, rest


def _joined(blocks: list[bytes] | tuple[bytes, ...]) -> bytes | None:
    """Return the blocks as one; None where that would be a large copy."""
    for block in blocks:
        _check(block)
    if len(blocks) == 1:
        return blocks[0]
    return b"".join(blocks) if sum(map(len, blocks)) <= JOINED else None


def _iterate(result: Any) -> Iterator[bytes]:
    if not isinstance(result, bytes | str):  # each an iterable, but not one of blocks
        try:
            return iter(result)
        except TypeError:
            pass
    raise AnswerError(f"a WSGI app returns an iterable of bytes, not {type(result).__name__}: {result!r:.80}")


def _first(blocks: Iterator[bytes]) -> bytes:
    """Return the first block that is not empty; b"" where there is none."""
    for block in blocks:
        _check(block)
        if block:
            return block
    return b""


def _check(block: object) -> None:
    if not isinstance(block, bytes):
        raise AnswerError(f"the iterable of a WSGI app yields bytes, not {type(block).__name__}")


def _spooled(written: Body) -> Piece:
    """Return the data given to write()."""
    written.rewind()  # which writes what the file still had in its buffer
    if written.size > SPOOL_AT:
        return FileSlice(written.file, 0, written.size)
    return written.file.read()


def _close_both(close: Close, written: Body) -> None:
    try:
        if close is not None:
            close()
    finally:
        written.close()


def _closes_what_is_sent(body: Piece, close: Callable[[], object]) -> bool:
    """Return True if `close` closes the file of `body` and nothing else: once that is sent, any thread may do so."""
    return isinstance(body, FileSlice) and getattr(close, "__self__", None) is body.file
