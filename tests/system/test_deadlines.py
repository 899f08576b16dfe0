"""The lazy heap against a plain dict, which is slow and right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allcomers.system.deadlines import NEVER, TICK, Deadlines


def test_nothing_is_due_where_nothing_is_set() -> None:
    deadlines = Deadlines()
    assert deadlines.next() == NEVER
    assert list(deadlines.due(1e9)) == []
    deadlines.set(1, NEVER)
    assert deadlines.next() == NEVER


def test_each_is_due_once_in_order() -> None:
    deadlines = Deadlines()
    for key, when in ((1, 5.0), (2, 3.0), (3, 4.0), (2, 1.0), (1, 9.0)):
        deadlines.set(key, when)
    assert deadlines.next() == 1.0
    assert list(deadlines.due(4.0)) == [2, 3]
    assert list(deadlines.due(4.0)) == []
    assert list(deadlines.due(5.0)) == [1]  # it was moved to 9: who looks sets it again
    assert deadlines.next() == NEVER


def test_a_key_may_be_set_again_while_it_is_due() -> None:
    deadlines = Deadlines()
    for key in range(200):
        deadlines.set(key, 1.0)
    seen = []
    for key in deadlines.due(1.0):
        seen.append(key)
        deadlines.set(key, 2.0 + key)
        deadlines.set(key, 2.0)
    assert seen == list(range(200))
    assert sorted(deadlines.due(2.0)) == list(range(200))


class Machine(RuleBasedStateMachine):
    """`wanted` is what the users of the heap have set: the truth. The heap may look too early, never too late."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.wanted: dict[int, float] = {}
        self.now = 0.0
        self.most = 0

    @rule(key=st.integers(0, 20), after=st.integers(0, 50))
    def move(self, key: int, after: int) -> None:
        self.wanted[key] = self.now + after
        self.deadlines.set(key, self.now + after)
        self.most = max(self.most, len(self.wanted))

    @rule(key=st.integers(0, 20))
    def forget(self, key: int) -> None:
        self.wanted.pop(key, None)  # the heap is not told

    @rule(after=st.integers(0, 30))
    def wait(self, after: int) -> None:
        self.now += after
        expired, looked = [], []
        for key in self.deadlines.due(self.now):
            looked.append(key)
            when = self.wanted.get(key, NEVER)
            if when <= self.now:
                expired.append(key)
                del self.wanted[key]
            elif when < NEVER:
                self.deadlines.set(key, when)
        assert len(looked) == len(set(looked)), "a key came twice"
        assert not [key for key, when in self.wanted.items() if when <= self.now], "a deadline was missed"

    @invariant()
    def looks_in_time(self) -> None:
        assert self.deadlines.next() <= min(self.wanted.values(), default=NEVER)

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.deadlines) <= 2 * 21 + 64


TestMachine = Machine.TestCase


@given(st.floats(0, 1e7), st.floats(-3 * TICK, 3 * TICK))
def test_none_comes_early_or_more_than_a_tick_late(when: float, after: float) -> None:
    deadlines = Deadlines()
    deadlines.set(7, when)
    due = deadlines.next()
    assert when <= due <= when + TICK  # "<" but for what floats cannot tell apart
    now = when + after
    assert list(deadlines.due(now)) == ([7] if due <= now else [])


@given(st.integers(1, 50))
def test_deadlines_that_come_ever_earlier_do_not_pile_up(keys: int) -> None:
    deadlines = Deadlines()
    for step in range(500):
        for key in range(keys):
            deadlines.set(key, 1000.0 - step)
        assert len(deadlines) <= 2 * keys + 64
    assert sorted(deadlines.due(501.0)) == list(range(keys))
    assert list(deadlines.due(1e9)) == []


def test_deadlines_that_come_ever_later_cost_nothing() -> None:
    deadlines = Deadlines()
    for step in range(1000):
        deadlines.set(1, float(step))
    assert len(deadlines) == 1
