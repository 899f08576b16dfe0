"""An app that speaks with its client itself: what WSGI has for WebSockets, which PEP 3333 does not know.

werkzeug's and gunicorn's servers put a client's socket into the environ, where WebSocket libraries look for it. So a
request that asks for another protocol finds it here, too, where a call may keep its thread and its client for as long
as it likes. Elsewhere it finds what says so when it is used. An app that does not look at either answers as ever
(RFC 9110, 7.8).
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, Protocol

from allcomers.errors import ClientGone, HttpError
from allcomers.protocol.message import Request
from allcomers.protocol.websocket import handshake

KEYS: Final = ("werkzeug.socket", "gunicorn.socket")

QUIET: Final = (StopIteration, ConnectionError)
"""What the libraries raise at the end to tell werkzeug and gunicorn that there is no other answer."""

_TEXT: Final = "WebSockets of WSGI apps need --model thread, thread-pool or process."


class UpgradedSocket(Protocol):
    """What is put there.

    taken  bool: the app has used it, so that there can be no other answer
    """

    taken: bool


class NoSocket:
    """In the place of a socket where the app cannot have it."""

    def __init__(self) -> None:
        self.taken = False

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        self.taken = True
        raise RuntimeError(_TEXT)

    recv = recv_into = send = sendall = shutdown = makefile = fileno = detach = dup = _refuse


def offer(environ: dict[str, Any], request: Request) -> UpgradedSocket | None:
    """Put the client's socket into the environ of a request that asks for another protocol; None for any other."""
    if not handshake.asks_for_upgrade(request):
        return None
    driver = request.driver
    lent: UpgradedSocket | None = driver.app_socket() if driver is not None else None
    found = lent or NoSocket()
    for key in KEYS:
        environ[key] = found
    return found


def outcome(found: UpgradedSocket) -> Exception:
    """What the call of an app that has used it comes to: no answer, or where that could not be, one that says so."""
    if isinstance(found, NoSocket):
        return HttpError(501, _TEXT)
    return ClientGone("the app has spoken with its client itself")
