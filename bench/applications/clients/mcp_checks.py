"""Checks of the MCP application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from common import PATIENCE, equal


def _mcp(run: Callable[[Any], Any], url: str) -> None:
    from mcp import Client

    async def connected() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(url + "/mcp") as found:
            await run(found)

    asyncio.run(connected())


def check_tools(url: str) -> None:
    async def run(found: Any) -> None:
        equal({tool.name for tool in (await found.list_tools()).tools}, {"add", "count", "wait"})
        answer = await found.call_tool("add", {"a": 1, "b": 2})
        equal(answer.content[0].text, "3")

    _mcp(run, url)


def check_progress(url: str) -> None:
    async def run(found: Any) -> None:
        seen: list[float] = []

        async def progress(now: float, total: float | None, message: str | None) -> None:
            seen.append(now)

        answer = await found.call_tool("count", {"most": 3}, progress_callback=progress)
        equal(answer.content[0].text, "counted")
        equal(seen, [1, 2, 3])

    _mcp(run, url)


def check_resources(url: str) -> None:
    async def run(found: Any) -> None:
        equal((await found.read_resource("greeting://Ada")).contents[0].text, "Hello, Ada!")
        answer = await found.get_prompt("review", {"code": "x = 1"})
        equal("x = 1" in answer.messages[0].content.text, True)

    _mcp(run, url)


def check_at_once(url: str) -> None:
    async def run(found: Any) -> None:
        answers = await asyncio.gather(*(found.call_tool("wait", {"seconds": 0.2}) for _ in range(10)))
        equal([answer.content[0].text for answer in answers], ["waited"] * 10)

    _mcp(run, url)


def check_stateful(url: str) -> None:
    """Run a session as clients before 2026 have it, with a stream of the server's own messages that stays quiet."""
    from mcp import Client

    async def connected() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(url + "/mcp", mode="legacy") as found:
            answer = await found.call_tool("add", {"a": 2, "b": 2})
            equal(answer.content[0].text, "4")

    asyncio.run(connected())
