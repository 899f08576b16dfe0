"""ASGI 2: an app of two calls, app(scope) and then its result (receive, send), as one of ASGI 3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from allcomers.apps.asgi.call.messages import Message
from allcomers.apps.asgi.runtime import App
from allcomers.apps.asgi.scope import Scope


def single(app: Callable[[Scope], Callable[..., Awaitable[Any]]]) -> App:
    """Return the same app as a single callable (ASGI, "Legacy Applications")."""

    async def called(
        scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        asgi = {**scope["asgi"], "version": "2.0"}  # an app for both versions looks there (uvicorn: so)
        await app({**scope, "asgi": asgi})(receive, send)

    return called
