"""Call a handler, and turn what it returns or raises into a response.

A call runs wherever `--calls` says: in the connection's own thread or in another. It touches no connection: it gets a
Request and returns a response, or a StreamingBody with its first piece, and it never raises. So an app's failure is one
client's 500.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from allcomers.connection.call import CallStatus
from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.connection.http.response_body import WHOLE, EndOfBody, PulledBody, StreamingBody
from allcomers.connection.http.response_head import internal_error, plain_response
from allcomers.errors import AnswerError, CallAbandoned, ClientGone, HttpError
from allcomers.protocol.head import BARE
from allcomers.protocol.message import FileSlice, Piece, Request, Response, title


class HandlerCall(partial[Response | StreamingBody | EndOfBody]):
    """`call` with its arguments: a call.Call of `exchange`. A time limit uses its name, and forget()."""

    __slots__ = ("exchange",)
    exchange: Any  # an Exchange, which imports this

    @property
    def name(self) -> str:
        return title(self.args[1])

    @property
    def is_awaited(self) -> bool:
        return bool(self.exchange.is_awaited)

    def forget(self, reply: Response | StreamingBody | EndOfBody | CallStatus) -> None:
        """Close what is open: the call returned `reply` too late, or was TIMED_OUT before it started."""
        endpoint, request = self.args
        forget(reply, endpoint, request)
        request.drop()


def forget(reply: object, endpoint: HttpEndpoint, request: Request) -> None:
    """Close what `reply` has open: it cannot be sent, or its client has gone."""
    if isinstance(reply, StreamingBody):
        reply.close()
    elif isinstance(reply, Response):
        PulledBody(reply, iter(()), endpoint.report, request).close()


def overdue() -> Response:
    """Return the response for a call that takes too long. It may read the request still, so the connection ends."""
    return plain_response(503, "The application did not answer in time.", close=True)


def overloaded() -> Response:
    """Return the response for a call that was refused. The connection stays open: another costs more than this does."""
    return plain_response(503, "The server is overloaded; try again in a moment.", [("Retry-After", "1")])


def call(endpoint: HttpEndpoint, request: Request) -> Response | StreamingBody | EndOfBody:
    """Call the handler, and pull the first piece of its response: what fails by then is still a 500."""
    try:
        return checked(endpoint, request, endpoint.handler(request))
    except BaseException as error:  # SystemExit too: one request does not stop a server
        return response_to_error(endpoint, request, error)


def checked(endpoint: HttpEndpoint, request: Request, response: object) -> Response | StreamingBody | EndOfBody:
    """Check what a handler returned; pull the first piece of an iterable. Raises AnswerError, and what that raises."""
    if not isinstance(response, Response):
        raise AnswerError(f"a handler returns a Response, not {type(response).__name__}")
    body = response.body
    if isinstance(body, WHOLE):
        if endpoint.sends_in_call or response.close is None or _is_file_of(body, response.close):
            return response
        response, body = _with_length(response, body), (body,)
    try:
        pieces = iter(body)
    except TypeError:
        PulledBody(response, iter(()), endpoint.report, request).close()
        raise
    stream = PulledBody(_without_body(response), pieces, endpoint.report, request, _is_bound(response, body))
    try:
        stream.begin()
    except BaseException:
        stream.close()
        raise
    if request.outflow is not None and isinstance(stream.first, EndOfBody):
        return request.outflow.finish(stream.first)  # type: ignore[no-any-return]
    return stream


def _with_length(response: Response, body: Piece) -> Response:
    """Return `response` for a body that goes out as an iterable does, and is closed in the thread of its call."""
    response = _without_body(response)
    if all(name.lower() != "content-length" for name, _ in response.headers):
        response.headers = [*response.headers, ("Content-Length", str(len(body)))]
    return response


def _without_body(response: Response) -> Response:
    """Copy `response`: an app may return one object again and again, and its iterable is to end with the stream."""
    copy = Response.__new__(Response)
    copy.body, copy.status, copy.headers = b"", response.status, response.headers
    copy.trailers, copy.close = response.trailers, response.close
    return copy


def _is_bound(response: Response, body: object) -> bool:
    """Return whether code of the app runs when `body` is iterated, or closed."""
    if type(body) is not list and type(body) is not tuple:
        return True
    return response.close is not None and not any(_is_file_of(piece, response.close) for piece in body)


def _is_file_of(piece: object, close: Callable[[], object]) -> bool:
    """Return whether `close` closes the file that is sent, and nothing else: any thread may do that."""
    return isinstance(piece, FileSlice) and getattr(close, "__self__", None) is piece.file


def response_to_error(
    endpoint: HttpEndpoint, request: Request, error: BaseException
) -> Response | StreamingBody | EndOfBody:
    """Return the response to a request whose call raised `error`; the end of one that has begun."""
    if request.outflow is not None:
        if not isinstance(error, ClientGone | CallAbandoned):
            failed(endpoint, error, request)
        return request.outflow.finish(EndOfBody.ABORTED)  # type: ignore[no-any-return]
    if isinstance(error, ClientGone | CallAbandoned):
        return EndOfBody.ABORTED
    if isinstance(error, HttpError):
        return plain_response(error.status, error.message or "refused", error.headers)
    return failed(endpoint, error, request)


def report_length(exchange: Any, response: Response, length: int, size: int) -> None:
    """Report a body of `size` bytes whose head promises `length`, unless it has none whatever the app gives.

    The client gets no more than that, and where it gets less, its connection ends (RFC 9112, 6.3).
    """
    if exchange.request_line[0] != "HEAD" and response.status not in BARE:
        error = AnswerError(f"Content-Length is {length}, but the app gave {size} bytes")
        failed(exchange.outlet.endpoint, error, exchange.request)


def timed_call(endpoint: HttpEndpoint, request: Request) -> Response | StreamingBody | EndOfBody:
    """Call the handler, and measure how long it takes."""
    assert request.times is not None
    with request.times:
        return call(endpoint, request)


def failed(endpoint: HttpEndpoint, error: BaseException, request: Request) -> Response:
    """Report `error`; return the response in the place of one that failed."""
    response = None
    with suppress(Exception):
        response = endpoint.report(error, request)
    return response or internal_error()
