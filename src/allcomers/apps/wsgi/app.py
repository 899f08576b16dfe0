"""WSGI apps: an application of PEP 3333 becomes a Handler.

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Hello\\n"]

This file knows how the app is called and how what it says becomes a Response. What it is told of the request is known
by `environ`; how a Response looks on the wire (Content-Length, chunks, a HEAD's missing body), by the connection.

The app's iterable is pulled within the call up to its first block that is not empty: until then the app may still
change its mind about status and headers, and what it raises is a clean 500. Each further block is a call of its own,
in the same thread (calls/producer.py), and so is close(). With `--calls inline` and a model with a loop, other requests
run in between, in that thread; so each request has a context of its own (contextvars), in which the app's call, all
its blocks and its close() run. Flask's `request` is such a variable: a generator that uses it finds its own.

An answer whose first block is all that its Content-Length promises is whole: the app is not asked for more (PEP 3333,
"Handling the Content-Length Header"), and the answer goes out in one piece.
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
from allcomers.protocol.message import SMALL, SPOOL_AT, Body, FileSlice, Handler, Piece, Request, Response

App: TypeAlias = Callable[[Environ, Callable[..., Callable[[bytes], None]]], Iterable[bytes]]
"""A WSGI application; what it returns may have a close()."""

Close: TypeAlias = Callable[[], object] | None

JOINED: Final = 64 * 1024
"""Bytes of a list of blocks up to which they are sent as one: it is there whole, so nothing is delayed."""

SLOW: Final = 0.005
"""Seconds of a close() from which on the client had better not wait for it."""

_WARY: Final = 1000
"""Answers after a slow close() for which a further one is expected."""

_END: Final = object()


class Wsgi:
    """A Handler that calls a WSGI application.

    root_path, multithread, multiprocess  as Environs has them
    inline  the thread that runs a call sends its answer, too: what the app does in close() may be done there, once the
            answer has gone out
    report  called with what an app's close() raises, and with what is wrong with an answer that goes out all the same
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
        self._wary = 0
        self.environs = Environs(
            root_path=root_path,
            multithread=multithread,
            multiprocess=multiprocess,
            file_wrapper=FileWrapper,
        )

    def __call__(self, request: Request) -> Response:
        """Answer one request. Raises what the app raises, and AnswerError for an answer that breaks PEP 3333."""
        environ = self.environs(request)
        found = offer(environ, request) if request.upgrades else None
        return self._call(request, environ) if found is None else self._call_with_socket(request, environ, found)

    def _call(self, request: Request, environ: Environ) -> Response:
        said = StartResponse()
        said.request = request
        run = copy_context().run
        try:
            result = run(self._app, environ, said.start)
        except BaseException:
            self.give_up(request, said)
            raise
        return self.answer(request, said, result, run)

    def _call_with_socket(self, request: Request, environ: Environ, found: UpgradedSocket) -> Response:
        """The same for a request whose app may speak with its client itself: then what it returns is not sent.

        Raises ClientGone where it has, HttpError where it has tried to.
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

    def answer(self, request: Request, said: StartResponse, result: Any, run: Callable[..., Any]) -> Response:
        """What the app returned, and said before. Raises AnswerError, and what the app's iterable raises."""
        close: Close = None
        try:
            app_close = getattr(result, "close", None)
            if app_close is not None:
                closes_file = type(result) is FileWrapper and result.closes_file
                close = app_close if closes_file else partial(run, app_close)
            pieces, rest = _begin(said, result, run)
            if said.written is not None:
                close = partial(_close_both, close, said.written)
            if said.pushed is not None:
                return self._stream(request, said, chain(filter(None, pieces), rest or ()), close)
            if rest is None:
                return self._whole(request, said, pieces[0], close)
            return self._stream(request, said, chain(pieces, rest), close)
        except BaseException:
            self.give_up(request, said, close)
            raise

    def _whole(self, request: Request, said: StartResponse, body: Piece, close: Close) -> Response:
        """An answer whose body is at hand."""
        size, length = len(body), said.length
        response = Response.short(body, said.fields)
        response.status = said.checked_status
        response.close = close
        if length is None:
            if not size and request.method == "HEAD":
                response.body = ()  # what GET would be given, nobody knows
                return response
            length = size
        elif length != size and not _is_bare(request, response.status):
            self._tell_of_length(request, length, size)
        if close is not None and not self._inline and not _closes_what_is_sent(body, close):
            self._close_in_a_call(request, response, close)
        if length == size and response.body is body:
            return response
        response.headers.append(("Content-Length", str(length)))
        return response

    def _close_in_a_call(self, request: Request, response: Response, close: Callable[[], object]) -> None:
        """Have close() run in the thread of the call: now, or in a further call, once the answer has gone out.

        PERF: for a further call the thread must be told that the answer has gone out, which costs as much as all that
        is done here for a request (9 and 10 µs, bench/request/micro.py). So one that is over at once runs before the
        answer is on its way. Where it lasts, as work that is left for after the answer does, it runs then.
        """
        run = partial(self._close, request, close)
        body = response.body
        if self._wary or isinstance(body, FileSlice):
            self._wary = max(0, self._wary - 1)
            response.body = (body,) if body else ()
            response.close = run
        else:
            response.close = None
            run()

    def _close(self, request: Request, close: Callable[[], object]) -> None:
        """Run an app's close(), and see how long it takes."""
        began = monotonic()
        try:
            close()
        except BaseException as error:
            self._report(error, request)
        if monotonic() - began > SLOW:
            self._wary = _WARY

    def _stream(self, request: Request, said: StartResponse, pieces: Iterator[Piece], close: Close) -> Response:
        """An answer of which more is to come."""
        response = said.begun(pieces)
        response.close = close
        if said.length is not None and not _is_bare(request, response.status):
            response.body = self._counted(request, pieces, said.length, said.pushed or 0)
        return response

    def _counted(self, request: Request, pieces: Iterator[Piece], length: int, size: int) -> Iterator[Piece]:
        """The same, after `size` bytes; and who looks for a client's broken download finds a line in the log."""
        for piece in pieces:
            size += len(piece)
            if size > length:
                break
            yield piece
        if size != length:
            self._tell_of_length(request, length, size)
        if size > length:
            yield piece

    def _tell_of_length(self, request: Request, length: int, size: int) -> None:
        self._report(AnswerError(f"Content-Length is {length}, but the app gave {size} bytes"), request)

    def give_up(self, request: Request, said: StartResponse, close: Close = None) -> None:
        """There will be no Response to close what the app has opened."""
        try:
            if close is not None:
                close()
        except BaseException as error:
            self._report(error, request)
        finally:
            if said.written is not None:
                said.written.close()


def handler(app: App, **options: Any) -> Handler:
    """A Handler for `app`, with the options of a Wsgi: where the leaf is compiled, common calls do without that."""
    wsgi = Wsgi(app, **options)
    if not compiled.COMPILED:
        return wsgi
    from allcomers.apps.wsgi._app import Common

    return Common(wsgi, app, wsgi.environs.templates, StartResponse, Response, known_keys, key_of, BytesIO)


def _begin(
    said: StartResponse, result: Iterable[bytes], run: Callable[..., Any]
) -> tuple[list[Piece], Iterator[Piece] | None]:
    """What goes out at first, at least one piece, and the iterator of what follows; None where nothing does.

    Raises AnswerError, and what the app's iterable raises.
    """
    if said.written is None and said.pushed is None:
        if isinstance(result, list | tuple) and (joined := _joined(result)) is not None:
            return [joined], None
        if type(result) is FileWrapper and (part := result.slice()) is not None:
            data = part.whole(SMALL)  # and is closed in this call
            return [part if data is None else data], None
    blocks = run(_iterate, result)
    first = run(_first, blocks)
    said.sent = True
    pieces: list[Piece] = [first] if first else []
    if said.written is not None:
        pieces.insert(0, _spooled(said.written))
    if not first or (said.written is None and said.pushed is None and len(first) == said.length):
        return pieces or [b""], None
    return pieces, iter(partial(run, next, blocks, _END), _END)


def _joined(blocks: list[bytes] | tuple[bytes, ...]) -> bytes | None:
    """The blocks as one; None where that would be a large copy."""
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
    """The first block that is not empty; b"" where there is none."""
    for block in blocks:
        _check(block)
        if block:
            return block
    return b""


def _check(block: object) -> None:
    if not isinstance(block, bytes):
        raise AnswerError(f"what a WSGI app returns gives bytes, not {type(block).__name__}")


def _spooled(written: Body) -> Piece:
    """What write() was given."""
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
    """Whether this closes the file that goes out, and nothing else: once it is sent, any thread may do that."""
    return isinstance(body, FileSlice) and getattr(close, "__self__", None) is body.file


def _is_bare(request: Request, status: int) -> bool:
    """Is it an answer without a body, whatever the app gives? (RFC 9112, 6.3, rule 1)"""
    return request.method == "HEAD" or status == 204 or status == 304
