"""An ASGI app whose every path uses receive() and send() in another way, most before they wait for anything."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import UserDict
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

from allcomers.server import error_log
from support.apps import eager_anyio, eager_kinds, eager_streams  # noqa: F401 - they add their paths
from support.apps.eager_parts import SEEN, TALKS, TEXT, Talk, answer, body, start, talk

if "WHOLE_LOG" in os.environ:  # each entry is compared: none is to be counted among others
    vars(error_log)["BURST"] = 1_000_000

last: ContextVar[str] = ContextVar("last", default="nothing")


LATE = "/late"
"""Before a path: its app waits first."""


def app(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
    path = scope["path"]
    if path == "/flood":
        return eager_streams.flood(scope, receive, send)
    if path.startswith(LATE + "/"):
        return late(TALKS[path.removeprefix(LATE)], scope, receive, send)
    return TALKS[path](scope, receive, send)


async def late(do: Talk, scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    await do(scope, receive, send)


@talk
async def plain(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"plain\n")


@talk
async def seen(scope: Any, receive: Any, send: Any) -> None:
    told = "".join(f"{line}\n" for line in SEEN)
    SEEN.clear()
    await answer(send, told.encode())


# ------------------------------------------------------------ the order of things


@talk
async def background(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    await asyncio.sleep(0)
    SEEN.append("went on")
    SEEN.append(repr(await receive()))
    for _ in range(70):  # what comes after the end is ignored, for a while
        await send(body(b"more"))
    SEEN.append("was ignored")


@talk
async def waits(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    await answer(send)


@talk
async def waits_between(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await asyncio.sleep(0)
    await send(body())


@talk
async def receives(scope: Any, receive: Any, send: Any) -> None:
    first = await receive()
    await answer(send, repr(first).encode())
    SEEN.append(repr(await receive()))
    SEEN.append(repr(await receive()))


@talk
async def receives_between(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(repr(await receive()).encode()))


@talk
async def receives_late(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    SEEN.append(repr(await receive()))


@talk
async def pieces(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    for piece in (b"one ", b"", b"two"):
        await send(body(piece, more_body=True))
    await send(body(b""))


@talk
async def more_by_number(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"one ", more_body=1))
    await send(body(b"two", more_body=0))


@talk
async def changed(scope: Any, receive: Any, send: Any) -> None:
    """Use one message and one list of headers, and change them."""
    headers = [*TEXT, (b"Content-Length", b"8")]
    message = start(headers)
    await send(message)
    headers.clear()
    message.clear()
    message.update(body(b"one ", more_body=True))
    await send(message)
    message["body"], message["more_body"] = b"more", False
    await send(message)


@talk
async def after_the_end(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    await send(body(b"more"))
    await send(start())
    for _ in range(100):
        await send(body(b"more"))


@talk
async def hints(scope: Any, receive: Any, send: Any) -> None:
    for name in (b"</a.css>; rel=preload", b"</b.js>; rel=preload"):
        await send({"type": "http.response.early_hint", "links": [name]})
    await answer(send)


@talk
async def hints_and_waits(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await asyncio.sleep(0)
    await send({"type": "http.response.early_hint", "links": [b"</b.js>; rel=preload"]})
    await answer(send)
    await send({"type": "http.response.early_hint", "links": [b"</late.js>; rel=preload"]})


@talk
async def hints_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    raise RuntimeError("after a hint")


@talk
async def bad_hint(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>\r\nA: b"]})


@talk
async def trailers(scope: Any, receive: Any, send: Any) -> None:
    await send(start(trailers=True))
    await send(body())
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})


@talk
async def late_body(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await asyncio.sleep(0.1)
    await send(body())


@talk
async def late_error(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await asyncio.sleep(0.1)
    raise RuntimeError("late")


# ------------------------------------------------------------ what is wrong


@talk
async def early_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send(start(trailers=True))
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})


@talk
async def trailers_without_headers(scope: Any, receive: Any, send: Any) -> None:
    await send(start(trailers=True))
    await send(body())
    await send({"type": "http.response.trailers"})


@talk
async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("at once")


@talk
async def raises_begun(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    raise RuntimeError("begun")


@talk
async def raises_after(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    raise RuntimeError("after the answer")


@talk
async def raises_in_the_background(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    await asyncio.sleep(0)
    raise RuntimeError("after the answer")


@talk
async def exits(scope: Any, receive: Any, send: Any) -> None:
    sys.exit(3)


@talk
async def exits_after(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    sys.exit(3)


@talk
async def exits_later(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    sys.exit(3)


@talk
async def interrupts_later(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


@talk
async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


@talk
async def says_half(scope: Any, receive: Any, send: Any) -> None:
    await send(start())


@talk
async def body_first(scope: Any, receive: Any, send: Any) -> None:
    await send(body())


@talk
async def two_starts(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(start())


@talk
async def unknown(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.else"})


@talk
async def untyped(scope: Any, receive: Any, send: Any) -> None:
    await send({"status": 200})


@talk
async def forgives(scope: Any, receive: Any, send: Any) -> None:
    """Make a mistake, and respond after all."""
    try:
        await send(body())
    except Exception as error:
        SEEN.append(type(error).__name__)
    await answer(send)


@talk
async def no_dict(scope: Any, receive: Any, send: Any) -> None:
    await send(UserDict(start()))
    await send(body())


@talk
async def cancels_itself(scope: Any, receive: Any, send: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@talk
async def cancels_itself_after(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@talk
async def is_cancelled(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


# ------------------------------------------------------------ what an app makes of all this


@talk
async def tasks(scope: Any, receive: Any, send: Any) -> None:
    """Run receive() and send() as tasks of their own."""
    heard = await asyncio.create_task(receive())
    await asyncio.wait_for(send(start()), 10)
    await asyncio.gather(asyncio.ensure_future(send(body(repr(heard).encode()))))


@talk
async def context(scope: Any, receive: Any, send: Any) -> None:
    """Send the context's variables, which are the request's own before and after it waits."""
    before = last.get()
    last.set(scope["raw_path"].decode())
    task = asyncio.current_task()
    await asyncio.sleep(0)
    await answer(send, f"{before} {last.get()} {task is asyncio.current_task() is not None}".encode())


@talk
async def context_at_once(scope: Any, receive: Any, send: Any) -> None:
    before = last.get()
    last.set("something")
    await answer(send, f"{before} {last.get()} {asyncio.current_task() is not None}".encode())


def future(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
    """Respond, without being a coroutine function."""
    return asyncio.ensure_future(answer(send))


TALKS["/future"] = future


@talk
async def scope(scope: Any, receive: Any, send: Any) -> None:
    """Send the scope, which is the request's own to change."""
    told = {name: value for name, value in scope.items() if name not in ("client", "server", "state")}
    told["client"] = scope["client"][0]
    data = repr(sorted(told.items())).encode()
    scope["headers"].append((b"a", b"b"))
    scope["asgi"]["changed"] = True
    for extension in scope["extensions"].values():
        extension["changed"] = True
    scope["extensions"]["changed"] = {}
    scope.get("state", {})["changed"] = True
    await answer(send, data)
