"""Apps in a process whose collector is off: /count tells which objects of the server only the collector would free."""

import gc
from collections import Counter
from typing import Any

gc.set_threshold(0)


def report() -> bytes:
    """Return the names of what has become garbage since the last call, in circles."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.garbage)
    gc.garbage.clear()
    gc.set_debug(0)
    gc.collect()
    names = [name for name in kinds if name.startswith(("allcomers.connection", "allcomers.models", "ssl.", "_ssl."))]
    return " ".join(sorted(names)).encode()


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    body = b"x"
    if environ["PATH_INFO"] == "/count":
        body = report()
    elif environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return (b"x" * 60_000 for _ in range(1000))
    elif environ["PATH_INFO"] == "/fail":
        raise RuntimeError
    while environ["wsgi.input"].read(65536):
        pass
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        return
    more, body = True, b"x"
    if scope["path"] == "/count":
        body = report()
    elif scope["path"] == "/fail":
        raise RuntimeError
    while more and scope["path"] != "/stream":
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000 if scope["path"] == "/stream" else 0):
        await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})
    await send({"type": "http.response.body", "body": body})
