"""Apps that run what they wait for in another library's way: paths of eager_app.py."""

from __future__ import annotations

from typing import Any

import anyio

from support.apps.eager_parts import answer, talk


@talk
async def anyio_at_once(scope: Any, receive: Any, send: Any) -> None:
    with anyio.fail_after(30):
        await answer(send)


@talk
async def anyio_group(scope: Any, receive: Any, send: Any) -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        await anyio.sleep(0)
        done.append(name)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(work, "one")
            group.start_soon(work, "two")
        done.append(await anyio.to_thread.run_sync(lambda: "thread"))
    await answer(send, repr(sorted(done)).encode())


@talk
async def anyio_cancels(scope: Any, receive: Any, send: Any) -> None:
    """Give up the wait for a client that stays."""
    await receive()
    with anyio.move_on_after(0.01) as scope_:
        await receive()
    await answer(send, repr(scope_.cancelled_caught).encode())
