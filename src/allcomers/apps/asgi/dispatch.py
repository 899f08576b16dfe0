"""The call that a request starts: of HTTP, or of a WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.apps.asgi.scope import Scope, http_scope
from allcomers.connection.http.async_call import Answered, Asker, AsyncCall
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import HttpError
from allcomers.protocol.message import Request
from allcomers.protocol.websocket import handshake

_logger = logging.getLogger("allcomers.websocket")


MakeCall: TypeAlias = Callable[[AsgiRuntime, Request, Asker, Scope], HttpCall]
"""Makes the call for a request of HTTP."""


def answer(runtime: AsgiRuntime, request: Request, asker: Asker, make: MakeCall = HttpCall) -> AsyncCall:
    """Return the AsyncCall for `request`, which has come on the connection `asker`."""
    if request.upgrades and handshake.asked(request):
        return _websocket(runtime, request, asker)
    return make(runtime, request, asker, http_scope(request, runtime.root_path, runtime.state, runtime.extensions))


def _websocket(runtime: AsgiRuntime, request: Request, asker: Asker) -> AsyncCall:
    try:
        offer = handshake.offer(request)
    except HttpError as error:
        return Answered(plain_response(error.status, error.message, error.headers))
    if runtime.websocket is None:
        warn_of_missing()
        return Answered(plain_response(501, "This server speaks no WebSocket."))
    from allcomers.apps.asgi.websocket import WebSocketCall  # late: most requests are none

    return WebSocketCall(runtime, request, asker, offer)


@cache
def warn_of_missing() -> None:
    """Log the missing library, once a process."""
    _logger.warning("a client asks for a WebSocket, which needs: pip install 'allcomers[websocket]'")
