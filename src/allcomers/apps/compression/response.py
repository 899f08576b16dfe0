"""The compression of one response, however it is given: whole, as an iterable, or piece by piece.

`CompressedHandler` does it for what a handler returns, so bodies are coded where calls run. WSGI's write() and ASGI's
messages come past it: these ask the ResponseCompression of their request.
"""

from __future__ import annotations

from typing import Any

from allcomers.apps.compression.body import BodyEncoder, EncodedPieces, has_room, joined
from allcomers.apps.compression.policy import Policy, Verdict, plain
from allcomers.connection.http.response_body import WHOLE
from allcomers.protocol.message import FileSlice, Handler, Request, Response


class ResponseCompression:
    """The compression of one response."""

    __slots__ = ("_encoder", "_has_begun", "_policy", "_request")

    def __init__(self, policy: Policy, request: Request) -> None:
        self._policy = policy
        self._request = request
        self._encoder: BodyEncoder | None = None
        self._has_begun = False

    @property
    def is_coding(self) -> bool:
        """Whether the pieces of the body are coded."""
        return self._encoder is not None

    def codes(self, response: Response) -> bool:
        """Return whether applied() codes this response, whose body is whole."""
        verdict = self._policy.verdict(self._request, response, len(response.body))
        return verdict is not None and verdict.coding is not None

    def begin(self, response: Response) -> None:
        """Change the head of `response`, whose body comes piece by piece: encode() is for these."""
        self._has_begun = True
        if verdict := self._policy.verdict(self._request, response, None):
            self._encoder = self._apply(response, verdict)

    def encode(self, data: bytes) -> bytes:
        """Return a further piece, coded if the body is."""
        return data if self._encoder is None else self._encoder.encode(data)

    def finish(self, data: bytes) -> bytes | None:
        """Return the last piece; None where the body is shorter than its Content-Length."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return data
        end = encoder.finish(data)
        return end if encoder.is_whole else None

    def applied(self, response: Response) -> Response:
        """Return `response` as it goes out; it stays as it is, for an app may return it again."""
        body = response.body
        if self._has_begun:
            return response if self._encoder is None else _with_body(response, EncodedPieces(body, self._encoder))
        whole = joined(body) if (type(body) is list or type(body) is tuple) and body else body
        size = len(whole) if isinstance(whole, WHOLE) else None
        verdict = self._policy.verdict(self._request, response, size)
        if verdict is None:
            return response
        other = _with_body(response, body)
        if verdict.status == 304 != response.status:
            other.body = b""
            other.close = other.close or getattr(body, "close", None)
        if verdict.coding is None:
            other.status, other.headers = verdict.status, verdict.headers
        elif isinstance(whole, bytes) and whole:
            other.headers = verdict.headers
            other.body = coded = verdict.coding.whole(whole)
            if whole is not body:  # in pieces, whose call closes what is open
                other.body = (coded,)
                other.headers = [*verdict.headers, ("Content-Length", str(len(coded)))]
        else:
            self._apply_in_pieces(other, body, verdict)
        return other

    def _apply_in_pieces(self, response: Response, body: Any, verdict: Verdict) -> None:
        encoder = self._apply(response, verdict)
        if encoder is not None:
            response.body = EncodedPieces([body] if isinstance(body, FileSlice) else body, encoder)
        elif self._request.method == "HEAD" and isinstance(body, WHOLE):
            response.body = ()  # as long as a GET's, which nobody knows

    def _apply(self, response: Response, verdict: Verdict) -> BodyEncoder | None:
        """Change the head of a response in pieces. Return its encoder; None where it goes out plain."""
        is_bare = verdict.coding is None or self._request.method == "HEAD"
        if not is_bare and not has_room():
            verdict = plain(response)
        response.status, response.headers = verdict.status, verdict.headers
        if is_bare or verdict.coding is None:
            return None
        return BodyEncoder(verdict.coding, verdict.declared)


class CompressedHandler:
    """A Handler that compresses what another returns."""

    __slots__ = ("_handler", "_policy")

    def __init__(self, handler: Handler, policy: Policy) -> None:
        self._handler = handler
        self._policy = policy

    def __call__(self, request: Request) -> Response:
        request.compression = compression = ResponseCompression(self._policy, request)
        try:
            response: Any = self._handler(request)
        finally:
            request.compression = None  # PERF: a circle would be left to the collector: 20,000 instructions a request
        if not isinstance(response, Response):
            return response  # type: ignore[no-any-return]
        try:
            return compression.applied(response)
        except BaseException:
            if response.close is not None:
                response.close()
            raise


def _with_body(response: Response, body: Any) -> Response:
    """Return a copy of `response` with another body."""
    other = Response.__new__(Response)
    other.body, other.status, other.headers = body, response.status, response.headers
    other.trailers, other.close = response.trailers, response.close
    return other
