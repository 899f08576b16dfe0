"""Live figures: how times are sorted into buckets, both ways of writing a row, and whose row is whose."""

from __future__ import annotations

import gc
import mmap
import os
import re
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.protocol import compiled as leaf
from allcomers.server.admin.interval import gauges
from allcomers.system.accept_balance import WorkerSlots
from allcomers.system.counters import (
    ABORTED,
    ANSWERED,
    APP_TIME,
    BUCKETS,
    BYTES_IN,
    CALLS,
    CLASSES,
    CONNECTIONS,
    FAILURES,
    LAG,
    LAGS,
    PLACES,
    QUEUED,
    REQUESTS,
    SIZE,
    STATUSES,
    TIMES,
    TURNS,
    WAIT_TIME,
    CounterRow,
    PlainCounterRow,
    bucket,
    bucket_start,
)
from support.harness import ROOT

NANOSECONDS = st.integers(0, 1 << 50)
SECONDS = st.floats(-1e10, 1e10) | st.floats(0, 1e-3) | st.just(float("inf")) | st.just(float("-inf"))


# ------------------------------------------------------------ buckets


@given(NANOSECONDS, NANOSECONDS)
def test_a_longer_time_has_no_earlier_bucket(one: int, other: int) -> None:
    assert bucket(min(one, other)) <= bucket(max(one, other))


@given(NANOSECONDS)
def test_a_bucket_tells_a_time_to_a_sixteenth(time: int) -> None:
    index = bucket(time)
    assert bucket_start(index) <= time
    if index < BUCKETS - 1:
        assert time < bucket_start(index + 1)
        assert bucket_start(index + 1) - bucket_start(index) <= max(64, bucket_start(index) / 16)


def test_buckets_begin_at_nothing_and_end_above_a_minute() -> None:
    assert [bucket_start(index) for index in range(18)] == [64 * index for index in range(18)]
    assert bucket_start(BUCKETS - 1) > 60e9
    assert [bucket(bucket_start(index)) for index in range(BUCKETS)] == list(range(BUCKETS))


# ------------------------------------------------------------ a row, written by both


@pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")
@given(
    st.lists(
        st.tuples(st.just("add"), st.integers(0, LAG - 1), st.integers(0, 1 << 40))
        | st.tuples(st.just("answered"), st.integers(0, 999), SECONDS)
        | st.tuples(st.just("called"), SECONDS, SECONDS, st.integers(0, 1))
        | st.tuples(st.just("loop_turn"), SECONDS)
    )
)
def test_compiled_and_plain_write_the_same(steps: list[tuple[Any, ...]]) -> None:
    pages: list[Any] = [PlainCounterRow(), CounterRow()]
    for name, *arguments in steps:
        for counters in pages:
            getattr(counters, name)(*arguments)
    plain, compiled = pages
    assert list(plain.cells) == list(compiled.cells)
    assert plain.answers == compiled.answers


@pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")
def test_the_compiled_page_takes_no_row_that_is_too_short_and_no_slot_beyond() -> None:
    counters = CounterRow()
    with pytest.raises(ValueError, match="1,024 numbers"):
        counters.cells = memoryview(bytearray(4088)).cast("Q")
    with pytest.raises(IndexError):
        counters.add(LAG)
    with pytest.raises(OverflowError):
        counters.add(-1)
    counters.add(BYTES_IN, 3)
    assert counters.cells[BYTES_IN] == 3


@pytest.mark.parametrize("kind", [PlainCounterRow, CounterRow])
def test_the_cyclic_collector_gives_the_memory_back(kind: type[PlainCounterRow]) -> None:
    memory = mmap.mmap(-1, SIZE)
    ring: list[object] = [kind(memoryview(memory).cast("Q"))]
    ring.append(ring)
    del ring
    gc.collect()  # an error there fails the test, as a warning of pytest's
    memory.close()  # BufferError, had anybody a buffer of it


def test_what_is_counted_where() -> None:
    counters = CounterRow()
    counters.answered(200, 0.001)
    counters.answered(404, 0.002)
    counters.answered(0, 0.002)  # a service's
    counters.answered(999, 0.002)
    counters.called(0.25, 0.5)
    counters.loop_turn(3e-6)
    cells = counters.cells
    assert list(cells[ANSWERED : ANSWERED + CLASSES]) == [2, 0, 1, 0, 1, 0]
    assert [at for at, count in enumerate(cells[STATUSES : STATUSES + len(FAILURES)], 400) if count] == [404]
    assert counters.answers == sum(cells[TIMES : TIMES + BUCKETS]) == 4
    assert (cells[CALLS], cells[WAIT_TIME], cells[APP_TIME]) == (1, 250_000_000, 500_000_000)
    assert list(cells[LAG : LAG + LAGS]) == [0, 0, 1] + [0] * (LAGS - 3)  # 3 µs are 2.9 times 1,024 ns
    assert cells[TURNS] == 1


@pytest.mark.parametrize("kind", [PlainCounterRow, CounterRow])
def test_threads_that_share_a_row_lose_no_count(kind: type[PlainCounterRow]) -> None:
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL two that count at once may count as one")
    counters = kind()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def count() -> None:
        for number in range(2000):
            counters.add(REQUESTS)
            counters.answered(200, number / 1e6)
            counters.called(0.0, 1e-9)

    threads = [threading.Thread(target=count) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert counters.cells[REQUESTS] == counters.answers == counters.cells[CALLS] == counters.cells[APP_TIME] == 16_000
    assert sum(counters.cells[TIMES : TIMES + BUCKETS]) == 16_000


# ------------------------------------------------------------ whose row it is


def in_child(action: Any) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_what_another_process_writes_is_seen_and_stays() -> None:
    slots = WorkerSlots()
    first, second = slots.acquire(), slots.acquire()
    in_child(lambda: (first.count(5), first.counters.add(ABORTED), first.counters.answered(200, 0.1)))
    row = slots.board.row(first.place)
    assert (row[CONNECTIONS], row[ABORTED], first.answered, second.answered) == (5, 1, 1, 0)
    slots.release(first)
    again = slots.acquire()
    assert again.place == first.place
    assert row[CONNECTIONS] == again.answered == 0  # the new worker has nobody and has answered nothing
    assert slots.board.answered(again.place) == 1  # but the place has


def test_what_a_worker_was_to_answer_ends_with_it() -> None:
    slots = WorkerSlots()
    slot = slots.acquire()
    for counted in (REQUESTS, REQUESTS, REQUESTS, QUEUED):
        slot.counters.add(counted)
    slot.counters.answered(200, 0.1)
    slots.release(slot)
    left = gauges(list(slots.board.row(slot.place)))
    assert (left["in_progress"], left["queue"]) == (0, 0)
    assert slots.board.row(slot.place)[ABORTED] == 2


def test_children_write_rows_of_their_own_that_count_for_their_worker() -> None:
    slots = WorkerSlots()
    slots.acquire()
    share = slots.acquire()

    def be(child: int) -> None:
        share.be_child(child)
        share.counters.answered(200, 0.1)

    for child in (0, 1, 1):
        share.lend_row(child)
        in_child(lambda child=child: be(child))
    assert share.answered == 3
    assert share.counters.answers == 0
    assert [sum(row[ANSWERED : ANSWERED + CLASSES]) for row in slots.board.rows(share.place)] == [0, 1, 2]


def test_who_is_ahead_steps_back() -> None:
    slots = WorkerSlots()
    alone = slots.acquire()
    alone.count(7)
    assert alone.is_alone()
    assert not alone.is_over_share()
    other = slots.acquire()
    assert not alone.is_alone()
    assert alone.is_over_share()
    assert not other.is_over_share()
    other.leave()
    assert alone.is_alone()


def test_where_few_wait_they_are_let_in_one_by_one_and_of_a_crowd_some_at_once() -> None:
    slots = WorkerSlots()
    first, second = slots.acquire(), slots.acquire()
    assert [first.accept_quota(waiting) for waiting in (0, 1, 15)] == [1, 1, 1]
    assert first.accept_quota(4096) == second.accept_quota(4096) == 257
    first.count(9)
    second.count(1)
    assert first.is_over_share()
    assert first.is_over_share(by=3)
    assert not first.is_over_share(by=4)  # four above the mean of five


def test_a_worker_beyond_the_places_serves_all_the_same() -> None:
    slots = WorkerSlots()
    shares = [slots.acquire() for _ in range(PLACES)]
    last = shares[-1]
    assert last.place == 0
    last.count(3)
    last.counters.answered(200, 0.1)
    assert last.answered == 1
    assert not last.is_over_share()
    slots.release(last)
    slots.release(shares[5])
    assert slots.acquire().place == shares[5].place


@pytest.mark.parametrize("row", [1, 2], ids=["the server's", "a worker's"])
def test_no_two_figures_share_a_place(row: int) -> None:
    source = (ROOT / "src/allcomers/system/counters.py").read_text().split("\n# -----")[row]
    lengths = {"ANSWERED": CLASSES, "LAG": LAGS}
    taken: dict[int, str] = {}
    for name, number in re.findall(r"^([A-Z_]+): Final = (\d+)$", source, re.M):
        if name in ("CLASSES", "LAGS"):
            continue
        for place in range(int(number), int(number) + lengths.get(name, 1)):
            assert taken.setdefault(place, name) == name
    assert len(taken) > 10
