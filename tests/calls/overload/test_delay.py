"""The decision, worked through: no clock, no thread, no socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from allcomers.calls.overload.admission import Admission
from allcomers.calls.overload.delay import CALM, EASING, INTERVAL, LATE, RISING, Delay
from allcomers.system.counters import APP_TIME, CALLS, REQUESTS, SHED, CounterRow

TARGET = 0.05
SPAN = INTERVAL * TARGET
"""An interval: half a second."""


def observe(delay: Delay, *waits: tuple[float, float]) -> list[object]:
    """Report (now, wait) after (now, wait); return the state after each."""
    states: list[object] = []
    for now, wait in waits:
        delay.observe(wait, now)
        states.append(delay.state)
    return states


def test_waits_above_the_target_for_an_interval_are_late() -> None:
    assert observe(Delay(TARGET), (1.0, 0.06), (1.2, 0.2), (1.49, 0.3), (1.5, 0.3)) == [RISING, RISING, RISING, LATE]


def test_one_short_wait_within_the_interval_is_no_overload() -> None:
    """The shortest wait counts, however long the others are."""
    states = observe(Delay(TARGET), (1.0, 0.4), (1.3, 0.01), (1.31, 0.4), (1.6, 0.4), (1.80, 0.4), (1.81, 0.4))
    assert states == [RISING, CALM, RISING, RISING, RISING, LATE]


def test_a_wait_of_the_target_is_not_above_it() -> None:
    assert set(observe(Delay(TARGET), *((1 + step / 10, TARGET) for step in range(20)))) == {CALM}


def test_it_ends_after_an_interval_of_short_waits_and_not_with_the_first() -> None:
    delay = Delay(TARGET)
    observe(delay, (1.0, 0.1), (1.5, 0.1))
    assert observe(delay, (1.6, 0.01), (1.7, 0.1), (1.75, 0.01), (2.2, 0.01)) == [EASING, LATE, EASING, EASING]
    assert delay.late
    assert observe(delay, (2.3, 0.01)) == [CALM]
    assert not delay.late


def test_after_a_silence_of_an_interval_it_begins_anew() -> None:
    delay = Delay(TARGET)
    observe(delay, (1.0, 0.1), (1.5, 0.1))
    assert observe(delay, (2.2, 0.1)) == [RISING]
    assert not delay.late


def test_a_wait_that_is_longer_than_an_interval_is_no_silence() -> None:
    """It reaches back to the report before it."""
    assert observe(Delay(TARGET), (1.0, 0.1), (3.0, 1.99)) == [RISING, LATE]


def test_changes_are_reported_once() -> None:
    changes: list[bool] = []
    delay = Delay(TARGET, lambda: changes.append(delay.late))
    observe(delay, (1.0, 0.1), (1.5, 0.1), (1.6, 0.1), (1.7, 0.0), (2.0, 0.0), (2.2, 0.0), (2.5, 0.0))
    assert changes == [True, False]


def test_without_a_target_nothing_is_late() -> None:
    assert set(observe(Delay(math.inf), *((step, 1000.0) for step in range(9)))) == {CALM}


# ---------------------------------------------------------------- a queue and its threads, in time that is computed


class Outcome(NamedTuple):
    came: float
    wait: float
    refused: bool


def served(arrivals: Iterable[float], threads: int, lasts: float, admission: Admission) -> list[Outcome]:
    """Give calls that come at these times to a queue of so many threads, each for `lasts` seconds, as the pool does."""
    queue: deque[float] = deque()
    counters = admission.counters
    admission.queued = lambda: len(queue)
    free = deque([0.0] * threads)
    outcomes: list[Outcome] = []

    def dequeue(until: float) -> None:
        while queue and max(free[0], queue[0]) <= until:
            came, now = queue.popleft(), free.popleft()
            now = max(now, came)
            if now - came > admission.queue.target or admission.queue.state is not CALM:
                admission.waited(now - came, now)
            refused = admission.refuses_dequeued(now - came)
            outcomes.append(Outcome(came, now - came, refused))
            if refused:
                counters.answered(503, 0.0)
                free.appendleft(now)
            else:
                free.append(now + lasts)
                counters.answered(200, 0.0)

    for came in arrivals:
        dequeue(came)
        if admission.late and admission.refuses(came, came, False):
            counters.answered(503, 0.0)
            outcomes.append(Outcome(came, 0.0, True))
        else:
            queue.append(came)
    dequeue(math.inf)
    return outcomes


def evenly(rate: float, since: float, until: float) -> Iterator[float]:
    return (since + number / rate for number in range(round((until - since) * rate)))


THREADS, LASTS = 8, 0.01
CAPACITY = THREADS / LASTS


@pytest.mark.parametrize("load", [0.5, 0.9, 1.0])
def test_up_to_the_capacity_nothing_is_refused(load: float) -> None:
    outcomes = served(evenly(load * CAPACITY, 1, 11), THREADS, LASTS, Admission(TARGET))
    assert not any(outcome.refused for outcome in outcomes)


@pytest.mark.parametrize("load", [1.2, 2.0, 5.0, 20.0])
def test_above_it_as_many_are_served_and_in_time(load: float) -> None:
    outcomes = served(evenly(load * CAPACITY, 1, 11), THREADS, LASTS, Admission(TARGET))
    late = [outcome for outcome in outcomes if outcome.came > 4]
    called = [outcome.wait for outcome in late if not outcome.refused]
    assert len(called) == pytest.approx(7 * CAPACITY, rel=0.02)
    assert max(called) < 2 * TARGET + LASTS
    assert all(outcome.wait < 2 * TARGET + LASTS for outcome in late)


def test_a_burst_that_is_over_within_an_interval_is_served_whole() -> None:
    burst = [1.0] * round(CAPACITY * SPAN)
    assert not any(outcome.refused for outcome in served(burst, THREADS, LASTS, Admission(TARGET)))


def test_when_the_load_has_gone_all_are_served_at_once() -> None:
    arrivals = [*evenly(5 * CAPACITY, 1, 4), *evenly(0.8 * CAPACITY, 4, 8)]
    outcomes = served(arrivals, THREADS, LASTS, Admission(TARGET))
    assert any(outcome.refused for outcome in outcomes)
    after = [outcome for outcome in outcomes if outcome.came > 4 + 2 * TARGET]
    assert not any(outcome.refused for outcome in after)
    assert max(outcome.wait for outcome in after if outcome.came > 4.5) < TARGET


def test_where_all_threads_hang_requests_are_refused() -> None:
    """Nothing is taken from the queue, so the age of its oldest call is reported instead."""
    admission = Admission(TARGET)
    admission.queued = lambda: 5
    for now in evenly(10, 1.1, 1.6):
        assert not (admission.late and admission.refuses(now, now, False))
        admission.waited(now - 1.0, now)
    admission.waited(0.7, 1.7)
    assert admission.refuses(1.8, 1.8, False)


def test_calls_that_take_long_may_wait_as_long() -> None:
    counters = CounterRow()
    counters.cells[CALLS], counters.cells[APP_TIME] = 100, 100 * 10**9
    admission = Admission(TARGET, counters)
    for now in evenly(10, 1.0, 3.0):
        admission.waited(0.4, now)
    assert not admission.late
    assert admission.queue.room == 1.0


# ---------------------------------------------------------------- the turns of a loop


def turns(admission: Admission, counters: CounterRow, count: int, took: float, requests: int) -> float:
    """Report `count` turns of so many seconds and requests; return when the last has ended."""
    now = 1.0
    for _ in range(count):
        now += took
        counters.cells[REQUESTS] += requests
        admission.turned(took, now)
    return now


def test_a_turn_of_one_long_call_is_no_queue() -> None:
    counters = CounterRow()
    admission = Admission(TARGET, counters)
    turns(admission, counters, 10, 0.2, 1)
    assert not admission.late


def test_turns_of_many_calls_are_late_and_those_beyond_the_target_are_refused() -> None:
    counters = CounterRow()
    admission = Admission(TARGET, counters)
    now = turns(admission, counters, 10, 0.2, 100)
    assert admission.late
    assert not admission.refuses(now, now + 0.9 * TARGET, True)
    assert admission.refuses(now, now + 1.1 * TARGET, True)
    assert not admission.refuses(now, now + 1.1 * TARGET, False)  # in a pool it would not wait
    assert counters.cells[SHED] == 1


def test_of_an_async_app_as_many_begin_as_a_turn_can_take() -> None:
    """Calls of 4 ms, 100 of which come in each turn; each turn has those that began in the one before."""
    counters = CounterRow()
    admission = Admission(TARGET, counters, tasks=True)
    now, took = 1.0, 0.1
    turns_taken: list[float] = []
    for _ in range(60):
        now += took
        counters.cells[REQUESTS] += 100
        admission.turned(took, now)
        began = sum(not (admission.late and admission.refuses(now, now, True)) for _ in range(100))
        took = 0.004 * began
        turns_taken.append(took)
    assert all(TARGET < took < 2 * TARGET for took in turns_taken[-20:])


def test_a_turn_that_lasts_is_reported_before_its_end() -> None:
    counters = CounterRow()
    admission = Admission(TARGET, counters)
    for step in range(2, 20):
        admission.lasts(step * TARGET, 1 + step * TARGET)
    assert admission.late
