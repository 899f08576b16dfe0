"""A process's figures: both recorders write the same, and records add up."""

from __future__ import annotations

import gc
import pickle
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.record import (
    ANSWERED,
    DIFFERENT,
    DIFFERS,
    OPEN,
    PEAK,
    RESPONSE,
    SENT,
    SERVICE,
    SIZE,
    STATUS_ERRORS,
    WRONG,
    Record,
    Recorder,
)
from allcomers.commands.load.run import response_end_compiled

NANOSECONDS = st.one_of(st.integers(0, 10**7), st.integers(0, 1 << 45))
RESPONSES = st.builds(int.__or__, st.integers(0, 599), st.sampled_from([0, DIFFERS]))
ANSWERS = st.lists(st.tuples(NANOSECONDS, NANOSECONDS, RESPONSES), max_size=30)


def written(recorder: object, responses: list[tuple[int, int, int]]) -> Record:
    record = Record(recorder)
    now = 1 << 50
    for waited, served, response in responses:
        record.recorder.answered(now - waited, now - served, now, response)
        record.recorder.late(waited)
    return record


@pytest.mark.skipif(not response_end_compiled.COMPILED, reason="nothing is compiled here")
@settings(max_examples=30)
@given(ANSWERS)
def test_both_recorders_write_the_same(responses: list[tuple[int, int, int]]) -> None:
    assert (
        written(response_end_compiled.Recorder, responses).counters.tobytes()
        == written(Recorder, responses).counters.tobytes()
    )


@pytest.mark.skipif(not response_end_compiled.COMPILED, reason="nothing is compiled here")
def test_the_compiled_recorder_writes_into_nothing_but_counters() -> None:
    with pytest.raises(ValueError, match="not the counters"):
        response_end_compiled.Recorder(Record().counters[1:], STATUS_ERRORS)
    with pytest.raises(ValueError, match="not the statuses"):
        response_end_compiled.Recorder(Record().counters, b"")
    for status in (-1, 1000):
        with pytest.raises(ValueError, match="not a status"):
            Record(response_end_compiled.Recorder).recorder.answered(0, 0, 0, status)


@pytest.mark.skipif(not response_end_compiled.COMPILED, reason="nothing is compiled here")
def test_the_cyclic_collector_frees_the_counters() -> None:
    counters = array("Q", bytes(8 * SIZE))
    ring: list[object] = [response_end_compiled.Recorder(counters, STATUS_ERRORS)]
    ring.append(ring)
    del ring
    gc.collect()
    counters.append(0)  # BufferError, if a buffer of it were left


def test_a_wrong_response_counts_once() -> None:
    answers = [(1, 1, 200), (1, 1, 404), (1, 1, 200 | DIFFERS), (1, 1, 404 | DIFFERS)]
    record = written(Recorder, answers)
    assert (record.histogram(WRONG).count, record.counters[DIFFERENT]) == (3, 1)
    assert record.statuses == {200: 2, 404: 2}


@settings(max_examples=10)
@given(ANSWERS, ANSWERS)
def test_records_add_up(one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]) -> None:
    whole = written(Recorder, one)
    whole.add(written(Recorder, other))
    assert whole.counters.tobytes() == written(Recorder, one + other).counters.tobytes()
    assert whole.histogram(RESPONSE).count == whole.histogram(SERVICE).count == len(one + other)


def test_intervals_are_what_came_since_the_last_one() -> None:
    record = Record()
    record.opened()
    record.counters[SENT] += 3
    record.recorder.answered(0, 0, 2_000_000, 200)
    record.end_interval(1.0)
    record.counters[SENT] += 1
    record.failed(2, "reset")
    record.end_interval(0.5)
    first, second = record.intervals
    assert (first.sent, first.answered, first.failed, first.open, first.seconds) == (3, 1, 0, 1, 1.0)
    assert (second.sent, second.answered, second.failed, second.seconds) == (1, 0, 2, 0.5)
    assert Histogram(first.times).percentile(50) == pytest.approx(0.002, rel=0.04)
    assert second.times == ()


def test_intervals_of_two_processes_are_joined_one_by_one() -> None:
    records = [Record(), Record()]
    for record in records:
        record.counters[SENT] += 5
        record.recorder.answered(0, 0, 1000, 200)
        record.end_interval(1.0)
    records[1].counters[SENT] += 2
    records[1].end_interval(1.0)
    records[0].add(records[1])
    assert [interval.sent for interval in records[0].intervals] == [10, 2]
    assert sum(count for _, count in records[0].intervals[0].times) == 2


def test_the_peak_is_the_most_that_were_open_at_once() -> None:
    record = Record()
    for _ in range(3):
        record.opened()
    record.closed()
    record.opened()
    assert (record.counters[OPEN], record.counters[PEAK]) == (3, 3)


def test_a_record_goes_through_a_pipe() -> None:
    record = written(Recorder, [(5, 5, 200)])
    record.failed(1, "closed")
    again = pickle.loads(pickle.dumps(record))
    assert (again.counters, again.errors, again.counters[ANSWERED]) == (record.counters, record.errors, 1)
