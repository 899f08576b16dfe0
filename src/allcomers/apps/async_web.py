"""Web classes with `async def` methods: an ASGI app of a handler.

So their calls are tasks on the loop that serves, as those of any ASGI app, with the same deadlines, back-pressure and
ends; under a blocking model each runs to its end on a loop of its thread. A plain method of such a class runs in the
thread of the loop; a plain handler beside it in `routes`, in a thread of the pool.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from allcomers.apps.web import PendingResponse, close_pieces, error_response
from allcomers.errors import AnswerError, HttpError, SpoolFull
from allcomers.protocol.body import FULL, Body
from allcomers.protocol.fields.cookies import made_secure
from allcomers.protocol.message import PREFIX, TLS, FileSlice, Handler, Piece, Request, Response

_Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
_Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_ZERO_COPY: Final = "http.response.zerocopysend"

_READ: Final = 64 * 1024
"""Bytes of a file that are read at a time, where it is not sent by sendfile(2)."""


class AsgiHandler:
    """The ASGI app of a handler."""

    sends_files = True
    """It knows the extensions for files, whatever --asgi-pathsend says of others."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # before it is accepted: 403
            return
        as_files = _ZERO_COPY in scope["extensions"]
        body = Body()
        request = _request(scope, body)
        try:
            response = await self._respond(request, body, receive)
            if response is not None:
                await _send_response(request, response, send, as_files)
        finally:
            request.drop()

    async def _respond(self, request: Request, body: Body, receive: _Receive) -> Response | None:
        """Return the response; None where the client has left before its request was whole."""
        try:
            if not await _receive_whole(body, receive):
                return None
            response = self._handler(request)
            if isinstance(response, PendingResponse):
                response = await response
        except HttpError as error:
            return error_response(error)
        if not isinstance(response, Response):
            raise AnswerError(f"a handler returns a Response, not {type(response).__name__}")
        if request.scheme == "https":
            response.headers = made_secure(response.headers)
        return response


async def _live(receive: _Receive, send: _Send) -> None:
    """Answer the messages of a lifespan: there is nothing to start or to end."""
    for moment in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{moment}.complete"})


def _request(scope: dict[str, Any], body: Body) -> Request:
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    fields = scope["headers"]
    peer, port = scope["client"] or ("", 0)
    request = Request(
        method=scope["method"],
        target=target.decode("ascii"),
        host=next((value.decode("latin-1") for name, value in fields if name == b"host"), ""),
        version=scope["http_version"],
        fields=fields,
        body=body,
        peer=peer,
        port=port,
        scheme=scope["scheme"],
    )
    request.server = scope["server"]
    request.tls = scope.get(TLS)
    if prefix := scope.get(PREFIX):
        request.prefix, request.path = prefix, request.path[len(prefix) :]
    request.params = scope.get("path_params") or request.params
    return request


async def _receive_whole(body: Body, receive: _Receive) -> bool:
    """Receive all of the body. Return False where the client has left before. Raises HttpError: there is no room."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        more = message.get("more_body", False)
        try:
            body.write(message.get("body", b""), last=not more)
        except SpoolFull:  # which the ledger has reported
            raise HttpError(503, FULL) from None
        if not more:
            return True


async def _send_response(request: Request, response: Response, send: _Send, as_files: bool) -> None:
    body, has_trailers = response.body, response.trailers != ()
    try:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        head = {"type": "http.response.start", "status": response.status, "headers": headers}
        await send({**head, "trailers": has_trailers})
        if isinstance(body, bytes | FileSlice):
            await _send_piece(body, send, as_files)
        else:
            async for piece in body if isinstance(body, AsyncIterable) else _each(body):
                await _send_piece(piece, send, as_files, more=True)
                if request.method == "HEAD":
                    break
            await _send_piece(b"", send)
        if has_trailers:
            fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.trailers]
            await send({"type": "http.response.trailers", "headers": fields})
    finally:
        await close_pieces(body)
        for close in (getattr(body, "close", None), response.close):
            if close is not None:
                close()


async def _each(pieces: Iterable[Piece]) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def _send_piece(piece: Piece, send: _Send, as_files: bool = False, *, more: bool = False) -> None:
    if isinstance(piece, FileSlice):
        if as_files:
            part = {"file": piece.file, "offset": piece.offset, "count": piece.count}
            await send({"type": _ZERO_COPY, **part, "more_body": more})
            return
        await _send_file(piece, send)
        piece = b""
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def _send_file(part: FileSlice, send: _Send) -> None:
    """Send what is read of a file, which is to be compressed."""
    at, end = part.offset, part.offset + part.count
    while at < end:
        data = FileSlice(part.file, at, end - at).read(_READ)
        if not data:
            raise AnswerError("a file has become shorter while it was sent")
        await send({"type": "http.response.body", "body": data, "more_body": True})
        at += len(data)
