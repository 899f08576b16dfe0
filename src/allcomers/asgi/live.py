"""Which talk a request begins: HTTP, or a WebSocket."""

from __future__ import annotations

from allcomers.asgi.host import Host
from allcomers.asgi.http import Exchange
from allcomers.asgi.scope import http_scope
from allcomers.http_calls import Asker, Live
from allcomers.protocol.message import Request


def answer(host: Host, request: Request, asker: Asker) -> Live:
    """The Live that answers `request`, which `asker` has heard."""
    return Exchange(host, request, asker, http_scope(request, host.server, host.root_path, host.state))
