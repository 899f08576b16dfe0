"""Calls that are over in their first step: an async app answers without waiting, and the driver sends it itself.

Where the package is compiled such a call is an `_eager.EagerCall`; this gives it what it needs of the package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from types import CoroutineType
from typing import Any, Final

from allcomers.apps.asgi.call.messages import Message, decoded
from allcomers.apps.asgi.call.response_writer import DONE, STREAMING
from allcomers.apps.asgi.dispatch import MakeCall, answer
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import EAGER, AsgiRuntime
from allcomers.apps.asgi.scope import VERSION, Scope
from allcomers.connection.http.async_call import Asker, AsyncCall
from allcomers.connection.http.endpoint import Begin
from allcomers.connection.http.response_body import GatheredBody
from allcomers.protocol import compiled
from allcomers.protocol.encode import encode_fields
from allcomers.protocol.head import remember
from allcomers.protocol.message import Request, Response

_Known = tuple[bytes, tuple[tuple[str, str], ...]]
"""Fields as they are sent, and as a Response has them."""

_blocks: dict[tuple[tuple[bytes, bytes], ...], _Known] = {}
_LONGEST_KNOWN: Final = 1024


def eager_calls(runtime: AsgiRuntime, make: MakeCall = HttpCall) -> Begin:
    """Return the function that starts the calls of one app. `make` makes those that are not over at once."""

    def begin(request: Request, asker: Asker) -> tuple[AsyncCall, Any]:
        async_call = answer(runtime, request, asker, make)
        return async_call, async_call.start()

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
        make=partial(_slow_call, make, runtime),
        coroutine=_coroutine,
        coroutine_type=CoroutineType,
        common=common,
        root=runtime.root_path,
        encode=_block,
        blocks=_blocks,
        otherwise=begin,
        response=Response,
        gathers=runtime.gathers and make is HttpCall,  # others do not send what the app gives
        gathered=GatheredBody,
        waits=make is HttpCall,
        streaming=STREAMING,
    )


def _slow_call(
    make: MakeCall,
    runtime: AsgiRuntime,
    request: Request,
    asker: Asker,
    scope: Scope,
    start: Message | None,
    received: bool,
    whole: bool,
    held: list[bytes] | None,
) -> HttpCall:
    """Return the HttpCall that goes on for an EagerCall.

    start     http.response.start, if the app has sent it
    received  whether the app has received the body
    whole     whether the response is whole
    held      pieces of its body, which are not sent; None for no piece
    """
    call = make(runtime, request, asker, scope)
    if received:
        call.body.next_message(_nothing)
    if start is not None:
        call.response.write(start, call)
    if held is not None:
        body = {"type": "http.response.body", "body": b"".join(held), "more_body": True}
        output: Any = call.response.write(body, call)
        call.response.hold(output)
        call.in_a_row = len(held)
    if whole:
        call.response.state = DONE
    return call


def _nothing() -> None:
    """Report nothing: all of the body is here."""


async def _coroutine(call: Awaitable[Any]) -> None:
    """Await what an app returned that is no coroutine, as a wrapped function may."""
    await call


def _block(fields: tuple[tuple[bytes, bytes], ...]) -> _Known | None:
    """Return the fields of a response; None where one is the server's to set, or cannot be sent."""
    try:
        headers = tuple(decoded(fields))
        block, ours = encode_fields(headers)
    except Exception:  # the HttpCall that goes on reports what is wrong with them
        return None
    if ours is not None:
        return None
    if len(block) <= _LONGEST_KNOWN:
        remember(_blocks, fields, (block, headers))
    return block, headers
