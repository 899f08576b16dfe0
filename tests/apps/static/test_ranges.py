"""The Range field against a plain model of it."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.apps.static import ranges

_NUMBERS = st.integers(0, 30) | st.integers(0, 10**25)
_SPECS = (
    st.tuples(_NUMBERS, _NUMBERS).map(lambda pair: f"{min(pair)}-{max(pair)}")
    | _NUMBERS.map(lambda n: f"{n}-")
    | _NUMBERS.map(lambda n: f"-{n}")
)
_SIZES = st.integers(1, 40)


def _bytes_of(spec: str, size: int) -> list[int]:
    """Return the positions that a valid spec selects, by a literal reading of RFC 9110 section 14.1.2."""
    first, _, last = spec.partition("-")
    if not first:
        return [at for at in range(size) if at >= size - int(last)]
    return [at for at in range(size) if int(first) <= at and (not last or at <= int(last))]


@given(st.lists(_SPECS, min_size=1, max_size=6), _SIZES)
def test_valid_ranges_are_as_the_rfc_reads(specs: list[str], size: int) -> None:
    found = ranges.parse("bytes=" + ", ".join(specs), size)
    expected = [part for part in (_bytes_of(spec, size) for spec in specs) if part]
    if sum(map(len, expected)) > size:
        assert found is None
    else:
        assert found == [(part[0], len(part)) for part in expected]


@settings(max_examples=1000)
@given(st.text(st.sampled_from("0123456789-,= \tbytesx+_.\xb2"), max_size=40), st.integers(0, 1 << 70))
def test_whatever_is_sent_stays_within_the_file(text: str, size: int) -> None:
    for field in (text, "bytes=" + text):
        for first, count in ranges.parse(field, size) or []:
            assert first >= 0
            assert count >= 1
            assert first + count <= size


@given(st.text())
def test_no_text_raises(text: str) -> None:
    ranges.parse(text, 100)


def test_as_many_as_are_allowed_and_one_more() -> None:
    specs = [f"{2 * n}-{2 * n}" for n in range(ranges.MAX_RANGES + 1)]
    assert ranges.parse("bytes=" + ",".join(specs[:-1]), 1000) == [(2 * n, 1) for n in range(ranges.MAX_RANGES)]
    assert ranges.parse("bytes=" + ",".join(specs), 1000) is None


def test_bad_input_74_75_in_linear_time() -> None:
    """A megabyte of each costs CPU time in proportion; quadratic work would be minutes."""
    started = time.process_time()
    for field in ("bytes=" + "0-," * 300_000, "bytes=" + "9" * 1_000_000 + "-", "bytes=-" + "0" * 1_000_000 + "5"):
        ranges.parse(field, 1000)
    assert time.process_time() - started < 2
