"""How long turns of an asyncio event loop take, as overload is measured by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from allcomers.calls.overload.admission import Admission
from allcomers.calls.overload.delay import CALM, RISING
from allcomers.models.driver.asyncio_adapter import TurnLength
from allcomers.system.counters import REQUESTS

TARGET = 0.05


def block() -> None:
    time.sleep(TARGET * 1.5)


def called_soon(events: asyncio.AbstractEventLoop) -> None:
    events.call_soon(block)


def step_of_a_task(events: asyncio.AbstractEventLoop) -> None:
    async def app() -> None:
        await asyncio.sleep(0)
        block()

    asyncio.Task(app(), loop=events, eager_start=True)


def task_that_begins_later(events: asyncio.AbstractEventLoop) -> None:
    async def app() -> None:
        block()

    events.create_task(app())


def third_step(events: asyncio.AbstractEventLoop) -> None:
    async def app() -> None:
        for _ in range(2):
            time.sleep(TARGET / 10)
            await asyncio.sleep(0)
        block()

    events.create_task(app())


def timer(events: asyncio.AbstractEventLoop) -> None:
    events.call_later(0, block)


async def measured(action: Callable[[asyncio.AbstractEventLoop], None]) -> Admission:
    """Return what is known of waits after one turn, in which peers were handled and made `action`."""
    events, admission = asyncio.get_running_loop(), Admission(TARGET)
    turns, over = TurnLength(admission, events), events.create_future()

    def handle() -> None:
        turns.note(time.monotonic())
        admission.counters.cells[REQUESTS] += 100
        action(events)
        events.call_later(TARGET * 3, over.set_result, None)

    events.call_soon(handle)
    await over
    turns.close()
    return admission


ACTIONS = [called_soon, step_of_a_task, task_that_begins_later, third_step, timer]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_turn_has_all_that_runs_between(action: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    if action is step_of_a_task and not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("tasks begin at once from Python 3.12 on")
    assert asyncio.run(measured(action)).turn.state is RISING


def test_an_app_that_rests_makes_no_turn_longer() -> None:
    """The loop waits then, and a peer that comes is handled at once."""
    assert asyncio.run(measured(lambda events: None)).turn.state is CALM


def test_a_turn_ends_when_peers_are_handled_again() -> None:
    async def two_turns() -> Admission:
        events, admission = asyncio.get_running_loop(), Admission(TARGET)
        turns, over = TurnLength(admission, events), events.create_future()

        def handle(at: float, then: Callable[[], object]) -> None:
            turns.note(at)
            admission.counters.cells[REQUESTS] += 2
            events.call_soon(then)

        events.call_soon(handle, 10.0, lambda: handle(10.0 + 4 * TARGET, lambda: over.set_result(None)))
        await over
        turns.close()
        return admission

    admission = asyncio.run(two_turns())
    assert admission.turn.state is RISING  # half of its two requests' four targets
