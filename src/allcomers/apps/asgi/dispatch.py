"""The call that a request starts: of HTTP, or of a WebSocket."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.apps.asgi.scope import http_scope
from allcomers.connection.http.async_call import Asker, AsyncCall
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import HttpError
from allcomers.protocol.message import Request, Response
from allcomers.protocol.websocket import handshake

_logger = logging.getLogger("allcomers.websocket")


def answer(runtime: AsgiRuntime, request: Request, asker: Asker) -> AsyncCall:
    """Return the AsyncCall for `request`, which has come on the connection `asker`."""
    if request.upgrades and handshake.asked(request):
        return _websocket(runtime, request, asker)
    return HttpCall(runtime, request, asker, http_scope(request, runtime.root_path, runtime.state, runtime.extensions))


def _websocket(runtime: AsgiRuntime, request: Request, asker: Asker) -> AsyncCall:
    try:
        offer = handshake.offer(request)
    except HttpError as error:
        return Refused(plain_response(error.status, error.message, error.headers))
    if runtime.websocket is None:
        warn_of_missing()
        return Refused(plain_response(501, "This server speaks no WebSocket."))
    from allcomers.apps.asgi.websocket import WebSocketCall  # late: most requests are none

    return WebSocketCall(runtime, request, asker, offer)


@cache
def warn_of_missing() -> None:
    """Log the missing library, once a process."""
    _logger.warning("a client asks for a WebSocket, which needs: pip install 'allcomers[websocket]'")


class Refused:
    """An AsyncCall whose response is known without the app."""

    ahead = 0
    hungry = False

    def __init__(self, response: Response) -> None:
        self._response = response

    def start(self) -> Any:
        return self._response

    def hear(self, piece: bytes, more: bool) -> None:
        pass

    def end(self) -> None:
        pass

    def drain(self) -> None:
        pass

    def leave(self) -> None:
        pass
