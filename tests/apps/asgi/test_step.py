"""A task that waits for a Step goes on within wake_now(), or in a later turn; it is cancelled as from a future."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

import pytest

from allcomers.apps.asgi.call.waiters import Step

said: contextvars.ContextVar[str] = contextvars.ContextVar("said")


def on_a_loop(test: Callable[[Step, list[str]], Awaitable[object]]) -> None:
    """Run a test beside a task that notes how it wakes, three times at most."""

    async def run() -> None:
        await test(Step(asyncio.get_running_loop()), [])

    asyncio.run(run())


async def waits(step: Step, notes: list[str], times: int = 3) -> None:
    said.set("the task's own")
    for at in range(times):
        try:
            await step
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise
        notes.append(f"{at}: {said.get()}")


async def called_back(action: Callable[[], object], notes: list[str]) -> list[str]:
    """Call `action` in a callback of the loop. Return the notes at its end."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: (action(), done.set_result(list(notes))))
    return await done  # type: ignore[no-any-return]


def test_it_goes_on_within_a_callback() -> None:
    async def test(step: Step, notes: list[str]) -> None:
        task = asyncio.create_task(waits(step, notes, 2))
        await asyncio.sleep(0)
        assert step.is_awaited
        assert await called_back(step.wake_now, notes) == ["0: the task's own"]
        assert step.is_awaited, "for the next time"
        assert await called_back(step.wake_now, notes) == ["0: the task's own", "1: the task's own"]
        await task
        step.wake_now()  # nobody waits
        step.wake()

    on_a_loop(test)


def test_it_goes_on_later_where_a_task_runs() -> None:
    async def test(step: Step, notes: list[str]) -> None:
        task = asyncio.create_task(waits(step, notes, 1))
        await asyncio.sleep(0)
        step.wake_now()
        assert not notes
        assert not step.is_awaited
        await task
        assert notes == ["0: the task's own"]

    on_a_loop(test)


def test_it_goes_on_later_where_its_context_is_used() -> None:
    async def test(step: Step, notes: list[str]) -> None:
        context = contextvars.copy_context()
        task = asyncio.create_task(waits(step, notes, 1), context=context)
        await asyncio.sleep(0)
        assert await called_back(lambda: context.run(step.wake_now), notes) == []
        await task
        assert notes == ["0: the task's own"]

    on_a_loop(test)


@pytest.mark.parametrize("wakes", [False, True])
def test_it_is_cancelled(wakes: bool) -> None:
    async def test(step: Step, notes: list[str]) -> None:
        task = asyncio.create_task(waits(step, notes))
        await asyncio.sleep(0)
        if wakes:
            step.wake()
        task.cancel()
        other = asyncio.create_task(waits(step, notes, 1))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert notes == ["cancelled"]
        step.wake()
        await other
        assert notes == ["cancelled", "0: the task's own"]

    on_a_loop(test)


def test_a_time_limit_of_the_apps_own() -> None:
    async def test(step: Step, notes: list[str]) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waits(step, notes), 0.01)
        assert not step.is_awaited

    on_a_loop(test)
