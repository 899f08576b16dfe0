"""Messages of the apps in eager_app.py, and the table of their paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Talk = Callable[[Any, Any, Any], Awaitable[Any]]

TALKS: dict[str, Talk] = {}
"""Apps by their path."""

SEEN: list[str] = []
"""What talks have noted: the path /seen tells it, and forgets it."""

TEXT = [(b"content-type", b"text/plain")]


def talk(do: Talk) -> Talk:
    TALKS["/" + do.__name__] = do
    return do


def start(headers: Any = TEXT, status: Any = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: Any = b"Hello", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


async def answer(send: Any, data: Any = b"Hello", **more: Any) -> None:
    await send(start(**more))
    await send(body(data))
