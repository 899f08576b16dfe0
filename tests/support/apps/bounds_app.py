"""Large responses, and uploads: what a server holds for its clients."""

from __future__ import annotations

from typing import Any

from allcomers.protocol.message import Request, Response


def app(request: Request) -> Response:
    """Return as many MiB as the path names; of an upload, its length."""
    if request.method == "POST":
        return Response(b"%d" % len(request.body))
    return Response(bytes(int(request.path[1:]) << 20))


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accept, and receive until the end."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
