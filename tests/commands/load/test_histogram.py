"""The histogram against hdrhistogram, an independent implementation with the same buckets."""

from __future__ import annotations

import io
import re
from array import array

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.commands.load.data.histogram import LARGEST, SIZE, Histogram, highest, index, lowest, write_hgrm

PERCENTS = (1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0)

FEW = settings(max_examples=10)
"""The oracle is plain Python: reading its 33,792 counts takes 10 ms."""

TIMES = st.one_of(st.integers(1, 5000), st.integers(1, 10**9), st.integers(1, LARGEST))


def oracle(values: list[int]) -> HdrHistogram:
    made = HdrHistogram(1, LARGEST, 3)
    for value in values:
        assert made.record_value(value)
    return made


def ours(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@FEW
@given(st.lists(TIMES, min_size=1, max_size=200))
def test_percentiles_are_those_of_hdrhistogram(values: list[int]) -> None:
    theirs, mine = oracle(values), ours(values)
    expected = theirs.get_percentile_to_value_dict(PERCENTS)
    assert [round(seconds * 1e9) for seconds in mine.percentiles(*PERCENTS)] == [expected[p] for p in PERCENTS]
    assert mine.count == theirs.get_total_count()
    assert mine.mean * 1e9 == pytest.approx(theirs.get_mean_value())
    assert mine.deviation * 1e9 == pytest.approx(theirs.get_stddev(), abs=1)


@given(st.lists(TIMES, max_size=50), st.lists(TIMES, max_size=50))
def test_merging_is_adding(one: list[int], other: list[int]) -> None:
    both = ours(one)
    both.merge(ours(other))
    assert both.counts == ours(one + other).counts


@given(TIMES)
def test_the_error_of_a_value_is_at_most_one_in_a_thousand(value: int) -> None:
    bucket = index(value)
    assert lowest(bucket) <= value <= highest(bucket)
    assert highest(bucket) - lowest(bucket) <= value / 1000


def test_buckets_have_no_gaps() -> None:
    assert [lowest(bucket + 1) - highest(bucket) for bucket in range(SIZE - 1)] == [1] * (SIZE - 1)
    assert index(LARGEST) == index(LARGEST * 1000) == SIZE - 1
    assert index(-5) == index(0) == 0


@given(st.lists(TIMES, max_size=50))
def test_pairs_restore_a_histogram(values: list[int]) -> None:
    assert Histogram(ours(values).pairs()).counts == ours(values).counts


def test_an_empty_histogram_has_zeros() -> None:
    empty = Histogram()
    assert (empty.count, empty.mean, empty.min, empty.max, empty.percentile(99), empty.deviation) == (0, 0, 0, 0, 0, 0)
    assert empty.share_above(0.0) == 0.0


def test_it_may_count_into_a_given_array() -> None:
    counts = array("Q", bytes(8 * SIZE))
    Histogram(counts).add(1000)
    assert counts[index(1000)] == 1


def test_share_above() -> None:
    mine = ours([1_000_000] * 3 + [5_000_000])
    assert mine.share_above(0.002) == 0.25
    assert mine.share_above(0.001) == 0.25  # a value in the limit's own bucket is not above it
    assert mine.share_above(0.1) == 0.0


@FEW
@given(st.lists(st.integers(1, 1000).map(lambda ms: ms * 1_000_000), min_size=1, max_size=50))
def test_the_text_form_has_the_count_up_to_each_step(values: list[int]) -> None:
    """As HdrHistogram's Java writes it. (hdrhistogram cuts its steps otherwise, and does not scale the deviation.)"""
    mine = ours(values)
    head, empty, *lines, mean, longest, buckets = written(mine).splitlines()
    reported, theirs = [[float(word) for word in line.split()] for line in lines], oracle(values)
    assert head.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert empty == ""
    for value, share, count, *beyond in reported:
        assert count == sum(round(highest(index(time)) / 1e6, 3) <= value for time in values)
        assert count >= share * len(values) - 1e-6
        assert beyond == ([] if share == 1 else [pytest.approx(1 / (1 - share), abs=0.005)])
    assert [reported[0][1], reported[-1][1], reported[-1][2]] == [0.0, 1.0, len(values)]
    assert numbers(mean) == pytest.approx([theirs.get_mean_value() / 1e6, theirs.get_stddev() / 1e6], abs=0.0006)
    assert numbers(longest) == [pytest.approx(theirs.get_max_value() / 1e6, abs=0.0006), len(values)]
    assert numbers(buckets) == [theirs.bucket_count, theirs.sub_bucket_count]


def test_the_steps_of_the_text_form_halve_what_is_left_in_five() -> None:
    steps = [float(line.split()[1]) for line in written(ours(list(range(1000, 11000)))).splitlines()[2:12]]
    assert steps == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7])


def test_an_empty_histogram_is_written_too() -> None:
    assert numbers(written(Histogram()).splitlines()[-2]) == [0, 0]


def written(histogram: Histogram) -> str:
    out = io.StringIO()
    write_hgrm(histogram, out)
    return out.getvalue()


def numbers(line: str) -> list[float]:
    return [float(word) for word in re.findall(r"[0-9]+\.?[0-9]*", line)]
