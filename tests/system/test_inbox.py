"""The inbox: what many threads put is taken once, in order, and the waiting loop always hears of it."""

from __future__ import annotations

import os
import select
import threading

from hypothesis import given
from hypothesis import strategies as st

from allcomers.system.inbox import Inbox


def ready(inbox: Inbox[int], timeout: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(inbox.fileno(), select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def test_one_ring_for_many_items() -> None:
    inbox: Inbox[int] = Inbox()
    assert not ready(inbox)
    assert inbox.take() == []
    for number in range(100_000):  # more than a pipe holds, were each one a byte
        inbox.put(number)
    assert ready(inbox)
    assert len(os.read(inbox._reader, 4096)) == 1
    assert inbox.take() == list(range(100_000))
    assert not ready(inbox)
    inbox.put(1)
    assert ready(inbox)
    assert inbox.take() == [1]


@given(st.lists(st.integers(0, 3)))
def test_against_a_list(steps: list[int]) -> None:
    inbox: Inbox[int] = Inbox()
    waiting: list[int] = []
    for number, step in enumerate(steps):
        if step:
            inbox.put(number)
            waiting.append(number)
        else:
            assert inbox.take() == waiting
            waiting = []
        assert ready(inbox) is bool(waiting)


def test_no_item_is_left_without_a_ring() -> None:
    """Eight threads put while one takes: it waits for the ring alone, so a lost ring would hang it."""
    inbox: Inbox[int] = Inbox()
    count, each = 8, 2000

    def put(begin: int) -> None:
        for number in range(begin, begin + each):
            inbox.put(number)

    threads = [threading.Thread(target=put, args=(number * each,)) for number in range(count)]
    for thread in threads:
        thread.start()
    taken: list[int] = []
    while len(taken) < count * each:
        assert ready(inbox, 20), f"{len(taken)} of {count * each} taken, and no ring for the rest"
        taken += inbox.take()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(count * each))
    for number in range(count):  # those of one thread in their order
        own = [item for item in taken if item // each == number]
        assert own == sorted(own)


def test_it_leaves_no_descriptor() -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - a Path of each is not wanted
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    del inbox
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208
