"""Calls of an ASGI app whose responses are compressed, under a model with an event loop.

A large piece is coded by a thread, and goes out when that is done: as after any piece, send() waits until then.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.apps.asgi.call.response_writer import DONE
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.apps.asgi.scope import Scope
from allcomers.apps.compression.policy import Policy
from allcomers.apps.compression.response import ResponseCompression
from allcomers.connection.http.async_call import Asker, AsyncCall
from allcomers.connection.http.endpoint import Begin, Begun
from allcomers.connection.http.response_body import WHOLE, EndOfBody, FinalPiece, PulledBody, PushedBody
from allcomers.connection.http.response_head import internal_error
from allcomers.protocol.message import Piece, Request, Response

if TYPE_CHECKING:
    from asyncio import Future

LARGE: Final = 32 * 1024
"""Bytes from which a thread codes them: that takes 0.1 ms by zstd, 0.25 by gzip, and the way there and back as long."""

_Output: TypeAlias = Response | PushedBody | FinalPiece | Piece


class CompressedCall(HttpCall):
    """An HttpCall that compresses what it sends."""

    def __init__(self, policy: Policy, runtime: AsgiRuntime, request: Request, asker: Asker, scope: Scope) -> None:
        super().__init__(runtime, request, asker, scope)
        self._compression = ResponseCompression(policy, request)

    def send_whole(self, response: Response) -> tuple[AsyncCall, Any]:
        """Send a response that is there already; return this call and its first output."""
        self.response.state = DONE
        self._post(response)
        return self, self._end_start()

    def go_on(self) -> Any:
        output = super().go_on()
        return self._coded(output) if isinstance(output, FinalPiece) else output

    def _post(self, output: Any) -> bool:
        if not isinstance(output, _Output):
            return super()._post(output)
        if isinstance(output, PushedBody):
            self._compression.begin(output.response)
        if not self._is_large(output):
            return super()._post(self._coded(output))
        assert self._runtime.coders is not None
        future = self._runtime.events.run_in_executor(self._runtime.coders, self._coded, output)
        future.add_done_callback(self._post_late)
        return False

    def _post_late(self, future: Future[Any]) -> None:
        if super()._post(EndOfBody.ABORTED if future.cancelled() else future.result()):
            self.go_on()

    def _is_large(self, output: _Output) -> bool:
        """Return whether a thread is to code `output`."""
        if isinstance(output, Response):
            return isinstance(output.body, WHOLE) and len(output.body) >= LARGE and self._compression.codes(output)
        piece: Any = output.first if isinstance(output, PushedBody) else output
        if isinstance(piece, FinalPiece):
            piece = piece.piece
        return self._compression.is_coding and len(piece) >= LARGE

    def _coded(self, output: _Output) -> Any:
        """Return `output` as it goes out; in its place the end of the response, where it cannot be coded."""
        try:
            return self._code(output)
        except Exception as error:
            self.response.state = DONE
            self.response.sent()
            self._runtime.report(error, self.request)
            return internal_error() if isinstance(output, Response | PushedBody) else EndOfBody.ABORTED

    def _code(self, output: _Output) -> Any:
        if isinstance(output, Response):
            response = self._compression.applied(output)
            return response if isinstance(response.body, WHOLE) else self._pulled(response)
        if not self._compression.is_coding:
            return output
        if isinstance(output, PushedBody):
            output.first = self._code(output.first)  # type: ignore[arg-type]
            return output
        if isinstance(output, FinalPiece):
            end = self._compression.finish(_bytes(output.piece))
            return EndOfBody.ABORTED if end is None else FinalPiece(end)
        return self._compression.encode(_bytes(output))

    def _pulled(self, response: Response) -> PulledBody:
        """Return the body of a file, or of none, which the connection pulls."""
        body = PulledBody(response, iter(response.body), self._runtime.report, self.request, is_bound=False)
        body.begin()
        return body


def _bytes(piece: Piece) -> bytes:
    return piece if isinstance(piece, bytes) else piece.read(piece.count)


def compressed_calls(runtime: AsgiRuntime, policy: Policy, begin: Begin) -> Begin:
    """Return `begin`, which starts the calls of one app, with the responses compressed that it has at once."""
    runtime.coders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "compress")

    def compressed(request: Request, asker: Asker) -> Begun:
        begun = begin(request, asker)
        if not isinstance(begun, Response):
            return begun
        return CompressedCall(policy, runtime, request, asker, {}).send_whole(begun)

    return compressed
