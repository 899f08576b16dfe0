"""The ASGI apps that tests/apps/asgi/test_asgi.py has served. A path of `app` is the function of its name here.

Nothing is kept in memory that a test asks for later, for another worker or process may get that question. Files that
the request names carry what a test needs to know of a call, and what a call waits for.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import http
import json
import os
from contextlib import suppress
from pathlib import Path

from support.apps.asgi_failing import chorus, fails, misspeaks, persistent
from support.apps.asgi_messages import Receive, Scope, Send, answer, arguments, body, file, pieces, start
from support.apps.served import note, pattern

word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


# ---------------------------------------------------------------- answers


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"Hello, all comers", 200, (b"content-type", b"text/plain"))


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """A status, and `n` bytes of body."""
    given = arguments(scope)
    await answer(send, pattern(int(given.get("n", 0))), http.HTTPStatus(int(given["status"])))


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """n bytes in pieces; with `length`, a Content-Length that is so much too large."""
    given = arguments(scope)
    size, piece = int(given["n"]), int(given.get("piece", 50_000))
    fields = [(b"content-length", b"%d" % (size + int(given["length"])))] if "length" in given else []
    await start(send, 200, *fields)
    for begin in range(0, size, piece):
        await body(send, bytearray(pattern(min(piece, size - begin), begin)), more=True)
    await body(send)


async def tick(scope: Scope, receive: Receive, send: Send) -> None:
    """A piece; another once `file` is there."""
    await start(send)
    await body(send, b"first,", more=True)
    await file(arguments(scope)["file"])
    await body(send, b"second")


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream that only an exception ends, noted in `file`; with `wrap`, another is raised for it."""
    given = arguments(scope)
    await start(send)
    try:
        while True:
            await body(send, pattern(int(given.get("piece", 65536))), more=True)
            if "pause" in given:
                await asyncio.sleep(float(given["pause"]))
    except OSError as error:
        note(given["file"], type(error).__name__)
        if given.get("wrap") == "own":
            raise KeyError("the client has left") from None
        if given.get("wrap") == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(body(send, b"more", more=True))
        raise


async def counted(scope: Scope, receive: Receive, send: Send) -> None:
    """A long stream of pieces of 10,000 bytes; that one has been sent is noted in `file`."""
    given = arguments(scope)
    await start(send)
    for _ in range(int(given["n"])):
        await body(send, pattern(10_000), more=True)
        note(given["file"], "sent")
    await body(send)


# ---------------------------------------------------------------- requests


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Each piece of the body as it comes."""
    await start(send)
    async for piece in pieces(receive):
        await body(send, piece, more=True)
    await body(send)


async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    seen, size, largest = hashlib.sha256(), 0, 0
    async for piece in pieces(receive):
        seen.update(piece)
        size += len(piece)
        largest = max(largest, len(piece))
    said = {"size": size, "sha256": seen.hexdigest(), "largest": largest}
    await answer(send, json.dumps(said).encode(), 200, (b"content-type", b"application/json"))


async def seen(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope."""

    def plain(value: object) -> object:
        return value.decode("latin-1") if isinstance(value, bytes) else repr(value)

    await answer(send, json.dumps(scope, default=plain).encode())


async def disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """What receive() says after the body, noted in `file`; `answer` is "before" or "after" that."""
    given = arguments(scope)
    async for _ in pieces(receive):
        pass
    if given.get("answer") == "before":
        await answer(send, b"answered")
    note(given["file"], "waits")
    message = await receive()
    note(given["file"], message["type"])
    if given.get("answer") == "after":
        await answer(send, b"still there")
    if "twice" in given:
        note(given["file"], (await receive())["type"])


async def unread(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer; of the body only the first piece is asked for, with `peek`."""
    given = arguments(scope)
    if "peek" in given:
        await receive()
    if "stream" in given:
        await start(send)
        await body(send, b"not ", more=True)
        await body(send, b"read")
    else:
        await answer(send, b"not read")


async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
    """The body is taken once `file` is there; `begun` is noted before that."""
    given = arguments(scope)
    if "first" in given:
        await receive()
    note(given["begun"], "begun")
    await file(given["file"])
    await digest(scope, receive, send)


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """All that receive() says, noted in `file`, up to the disconnect."""
    path = arguments(scope)["file"]
    while True:
        message = await receive()
        note(path, f"{message['type']} {len(message.get('body', b''))}")
        if message["type"] == "http.disconnect":
            with suppress(OSError):
                await answer(send, b"never seen")
            return


async def context(scope: Scope, receive: Receive, send: Send) -> None:
    """The word that was set before this request, or by it."""
    before = word.get()
    word.set(arguments(scope)["word"])
    await asyncio.sleep(0)
    await answer(send, f"{before} {word.get()}".encode())


# ---------------------------------------------------------------- extensions


async def hints(scope: Scope, receive: Receive, send: Send) -> None:
    for link in (b"</a.css>; rel=preload", b"</b.js>; rel=preload"):
        await send({"type": "http.response.early_hint", "links": [link]})
    if "file" in arguments(scope):
        await file(arguments(scope)["file"])
    await start(send)
    await send({"type": "http.response.early_hint", "links": [b"</c.css>; rel=preload", b"</d.css>; rel=preload"]})
    await body(send, b"hinted")


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, 200, (b"trailer", b"x-digest, x-more"), trailers=True)
    await body(send, b"one,", more=True)
    await body(send, b"two")
    await send({"type": "http.response.trailers", "headers": [(b"x-digest", b"12")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"34")]})


async def sendpath(scope: Scope, receive: Receive, send: Send) -> None:
    given = arguments(scope)
    fields = [(b"content-length", given["length"].encode())] if "length" in given else []
    await start(send, 200, *fields)
    await send({"type": "http.response.pathsend", "path": given["path"]})


async def sendfile(scope: Scope, receive: Receive, send: Send) -> None:
    """Three slices of the file `path`, and bytes before, between and behind, unless only the file is asked for."""
    path = arguments(scope)["path"]
    kind = "http.response.zerocopysend"
    await start(send)
    if "whole" in arguments(scope):
        with Path(path).open("rb") as whole:
            await send({"type": kind, "file": whole})
        return
    await body(send, b"<", more=True)
    with Path(path).open("rb") as one:
        await send({"type": kind, "file": one, "offset": 10, "count": 1_000_000, "more_body": True})
    await body(send, b"|", more=True)
    with Path(path).open("rb") as two:
        two.seek(1000)
        await send({"type": kind, "file": two, "count": 20, "more_body": True})
    three = os.open(path, os.O_RDONLY)
    try:
        await send({"type": kind, "file": three, "offset": Path(path).stat().st_size - 5, "more_body": True})
    finally:
        os.close(three)
    await body(send, b">")


async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
    """A file that is closed before it has gone out, and another that gets its descriptor: that must not go out."""
    given = arguments(scope)
    kind = "http.response.zerocopysend"
    size = Path(given["path"]).stat().st_size
    await start(send, 200, (b"content-length", b"%d" % size))
    descriptor = os.open(given["path"], os.O_RDONLY)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await send({"type": kind, "file": descriptor, "more_body": True})
    os.close(descriptor)
    other = os.open(given["other"], os.O_RDONLY)
    note(given["file"], "same" if other == descriptor else "different")
    await body(send)
    os.close(other)


# ---------------------------------------------------------------- what goes on behind


async def background(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer, then work that ends once `go` is there, or is cancelled: noted in `file`."""
    given = arguments(scope)
    if "stream" in given:
        await start(send)
        await body(send, b"answered", more=True)
        await body(send)
    else:
        await answer(send, b"answered")
    try:
        note(given["file"], "begun")
        await file(given["go"])
        note(given["file"], "ended")
    except asyncio.CancelledError:
        note(given["file"], "cancelled")
        raise


async def forgotten(scope: Scope, receive: Receive, send: Send) -> None:
    """Work that nobody waits for, in a task of its own."""
    path = arguments(scope)["file"]

    async def work() -> None:
        try:
            note(path, "begun")
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            note(path, "cancelled")
            raise

    background_tasks.add(asyncio.create_task(work()))
    await asyncio.sleep(0)
    await answer(send, b"answered")


background_tasks: set[asyncio.Task[None]] = set()


async def libraries(scope: Scope, receive: Receive, send: Send) -> None:
    """What libraries need of the task that a call runs in; before anything was awaited, and after."""
    import anyio
    import sniffio

    said: list[str] = []
    for _ in range(2):
        task = asyncio.current_task()
        said += [sniffio.current_async_library(), str(task is not None and not task.done())]
        said.append(str(anyio.get_current_task().id == id(task)))
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(10)
        except TimeoutError:
            said.append("timeout")
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0, "child"))
        said.append(child.result())
        with anyio.move_on_after(0.001) as within:
            await anyio.sleep(10)
        said.append(str(within.cancelled_caught))
        async with anyio.create_task_group() as many:
            many.start_soon(anyio.sleep, 10)
            many.cancel_scope.cancel()
        said.append(await anyio.to_thread.run_sync(lambda: "thread"))
        await anyio.sleep(0)
    await answer(send, " ".join(said).encode())


async def state(scope: Scope, receive: Receive, send: Send) -> None:
    """What the lifespan has left, and how often this request's own copy was changed: once, if it is one."""
    left = scope["state"]
    left["own"] = left.get("own", 0) + 1
    left["shared"]["requests"] += 1
    await answer(send, json.dumps({"own": left["own"], "word": left["word"], **left["shared"]}).encode())


PATHS = {
    f"/{function.__name__}": function
    for function in (
        hello, bare, stream, tick, endless, counted, echo, digest, seen, disconnect, unread, slowly, told, context,
        hints, trailers, sendpath, sendfile, hasty, fails, misspeaks, persistent, chorus, background, forgotten,
        libraries, state,
    )
}  # fmt: skip


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a lifespan."""
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")
    path = scope["path"].removeprefix(scope["root_path"])
    await PATHS.get("/" + path.split("/")[1], hello)(scope, receive, send)
