"""Apps that use their client's socket themselves: WSGI's way to WebSockets, of which PEP 3333 says nothing.

werkzeug's and gunicorn's servers put a client's socket into the environ, where WebSocket libraries look for it. So
does this server for a request that wants another protocol, where a call may keep its thread and its client for as long
as it likes. Elsewhere the entry is a NoSocket, whose use raises. An app that uses neither responds as ever (RFC 9110,
7.8).
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, Protocol

from allcomers.errors import ClientGone, HttpError
from allcomers.protocol.message import Request
from allcomers.protocol.websocket import handshake

KEYS: Final = ("werkzeug.socket", "gunicorn.socket")

QUIET: Final = (StopIteration, ConnectionError)
"""Exceptions that the libraries raise at the end, so that werkzeug and gunicorn send no other response."""

_TEXT: Final = "WebSockets of WSGI apps need --model thread, thread-pool, process or gevent."


class UpgradedSocket(Protocol):
    """The client's socket in the environ.

    taken  bool: the app has used it, so that there can be no other response
    """

    taken: bool


class NoSocket:
    """Stands in place of a socket that the app cannot have."""

    def __init__(self) -> None:
        self.taken = False

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        self.taken = True
        raise RuntimeError(_TEXT)

    recv = recv_into = send = sendall = shutdown = makefile = fileno = detach = dup = _refuse


def offer(environ: dict[str, Any], request: Request) -> UpgradedSocket | None:
    """Put the client's socket into the environ of a request for another protocol, and return it; None for any other."""
    if not handshake.asks_for_upgrade(request):
        return None
    driver = request.driver
    lent: UpgradedSocket | None = driver.app_socket() if driver is not None else None
    found = lent or NoSocket()
    for key in KEYS:
        environ[key] = found
    return found


def outcome(found: UpgradedSocket) -> Exception:
    """Return the exception that ends the call of an app that has used a socket: ClientGone, or 501 for a NoSocket."""
    if isinstance(found, NoSocket):
        return HttpError(501, _TEXT)
    return ClientGone("the app has used its client's socket itself")
