"""Talks that are over at once: what an async app answers without waiting, for a driver that can send it itself.

Where the leaf is compiled such a talk is a `_brief.EagerCall`; what it needs to know of this package is said here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, Final

from allcomers.apps.asgi.call.messages import Message, decoded
from allcomers.apps.asgi.call.response_writer import DONE
from allcomers.apps.asgi.dispatch import answer
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import EAGER, AsgiRuntime
from allcomers.apps.asgi.scope import VERSION, Scope
from allcomers.connection.http.async_call import Asker, AsyncCall
from allcomers.protocol import compiled
from allcomers.protocol.head import encode_fields, remember
from allcomers.protocol.message import Request, Response

Begin = Callable[[Request, Asker], Response | tuple[AsyncCall, Any]]
"""Has an app answer: its whole answer where that is there at once; else who goes on with it, and what it says first."""

_Known = tuple[bytes, list[tuple[str, str]]]
"""Fields as they go out, and as a Response has them."""

_blocks: dict[tuple[tuple[bytes, bytes], ...], _Known] = {}
_LONGEST_KNOWN: Final = 1024


def eager_calls(runtime: AsgiRuntime) -> Begin:
    """For the requests of one app."""

    def begin(request: Request, asker: Asker) -> tuple[AsyncCall, Any]:
        async_call = answer(runtime, request, asker)
        return async_call, async_call.start()

    def make(
        request: Request, asker: Asker, scope: Scope, start: Message | None, received: bool, whole: bool
    ) -> HttpCall:
        call = HttpCall(runtime, request, asker, scope)
        if received:
            call.body.next_message(_nothing)
        if start is not None:
            call.response.write(start, call)
        if whole:
            call.response.state = DONE
        return call

    if not (compiled.COMPILED and EAGER):
        return begin
    from allcomers.apps.asgi._eager import EagerCalls

    common = {
        "type": "http",
        "asgi": VERSION,
        "http_version": "1.1",
        "scheme": "http",
        "query_string": b"",
        "root_path": runtime.root_path,
        "extensions": {name: {} for name in runtime.extensions},
    }
    return EagerCalls(
        runtime=runtime,
        app=runtime.app,
        events=runtime.events,
        task=asyncio.Task,
        context=runtime.context,
        make=make,
        coroutine=_coroutine,
        coroutine_type=CoroutineType,
        common=common,
        root=runtime.root_path,
        encode=_block,
        blocks=_blocks,
        otherwise=begin,
        response=Response,
    )


def _nothing() -> None:
    """Report nothing: all of the body is here."""


async def _coroutine(call: Awaitable[Any]) -> None:
    """What an app returned that is awaited as a coroutine is, as a function that is wrapped may."""
    await call


def _block(fields: tuple[tuple[bytes, bytes], ...]) -> _Known | None:
    """The fields of an answer; None for what is the server's to set, or cannot be sent."""
    try:
        headers = decoded(fields)
        block, ours = encode_fields(headers)
    except Exception:  # the exchange that goes on tells what is wrong with them
        return None
    if ours is not None:
        return None
    if len(block) <= _LONGEST_KNOWN:
        remember(_blocks, fields, (block, headers))
    return block, headers
