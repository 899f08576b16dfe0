"""The figures of one process of the load generator, in one array of counters that is cheap to write and to add up.

Counters, the statuses of responses, the current interval's times at a low resolution, and four histograms: response
time (from the moment a request was due), service time (from the moment it was sent), lateness (how much later than
possible the generator sent it), and the response times of wrong responses: of a status that is an error, or with
another body than the expected one. `Recorder` does what is done for
each response; `_response_end.pyx` has it compiled.

It knows numbers, neither when requests are due nor what a response is.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any, Final, NamedTuple

from allcomers.commands.load.data import histogram
from allcomers.commands.load.data.histogram import Histogram

SENT: Final = 0
ANSWERED: Final = 1
FAILED: Final = 2
BYTES_OUT: Final = 3
BYTES_IN: Final = 4
OPENED: Final = 5  # connections opened so far
OPEN: Final = 6  # … open now
PEAK: Final = 7  # … open at once, at most
DIFFERENT: Final = 8  # responses with another body than the expected one
_COUNTERS: Final = 16

STATUSES: Final = _COUNTERS  # responses by status, 0 to 999
COARSE: Final = STATUSES + 1000  # this interval's response times
COARSE_SHIFT: Final = 5  # 32 buckets of the histogram in one: 32 parts of each doubling, 3 %
_COARSE_SIZE: Final = histogram.SIZE >> COARSE_SHIFT
RESPONSE: Final = COARSE + _COARSE_SIZE
SERVICE: Final = RESPONSE + histogram.SIZE
LATENESS: Final = SERVICE + histogram.SIZE
WRONG: Final = LATENESS + histogram.SIZE
SIZE: Final = WRONG + histogram.SIZE


DIFFERS: Final = 2048
"""Added to the status of a response whose body is not the expected one."""

_STATUS: Final = 1023

STATUS_ERRORS: Final = bytes(status >= 400 for status in range(1000))
"""1 for each status that is an error, unless a plan has others."""


class Recorder:
    """Counts responses. The plain twin of `_response_end.Recorder`.

    errors  1 for each status, 0 to 999, that is an error
    """

    __slots__ = ("_counters", "_errors")

    def __init__(self, counters: array[int], errors: bytes = STATUS_ERRORS) -> None:
        self._counters = counters
        self._errors = errors

    def answered(self, due: int, sent: int, now: int, response: int) -> None:
        """Count a response that was complete at `now`; `due` and `sent` are its request's times (ns of one clock).

        response  its status, perhaps plus DIFFERS: that counts where the status is right
        """
        counters = self._counters
        status = response & _STATUS
        counters[ANSWERED] += 1
        counters[STATUSES + status] += 1
        bucket = histogram.index(now - due)
        counters[RESPONSE + bucket] += 1
        if self._errors[status]:
            counters[WRONG + bucket] += 1
        elif response & DIFFERS:
            counters[WRONG + bucket] += 1
            counters[DIFFERENT] += 1
        counters[COARSE + (bucket >> COARSE_SHIFT)] += 1
        counters[SERVICE + (bucket if sent == due else histogram.index(now - sent))] += 1

    def late(self, by: int) -> None:
        """Count a request that was sent `by` ns later than possible."""
        self._counters[LATENESS + histogram.index(by)] += 1


class Interval(NamedTuple):
    """One second of a run, or another length: counts, not rates.

    seconds  length
    open     connections at its end
    times    pairs (bucket of a Histogram, count): the response times that ended in it, to 3 %
    """

    seconds: float
    sent: int
    answered: int
    failed: int
    bytes_out: int
    bytes_in: int
    open: int
    times: tuple[tuple[int, int], ...]  # makes a Histogram


NOTHING: Final = Interval(0.0, 0, 0, 0, 0, 0, 0, ())

_EACH: Final = (SENT, ANSWERED, FAILED, BYTES_OUT, BYTES_IN)


class Record:
    """The figures of one process; `recorder` writes them, `add` joins those of another."""

    def __init__(self, recorder: Any = Recorder, errors: bytes = STATUS_ERRORS) -> None:
        self.counters: array[int] = array("Q", bytes(8 * SIZE))
        self.recorder = recorder(self.counters, errors)
        self.errors: Counter[str] = Counter()
        """Errors by kind: of requests, and of connections that never carried one."""
        self.intervals: list[Interval] = []
        self.late = NOTHING
        """What came after the measured time: answers that were waited for."""
        self.in_flight = 0
        self.unsent = 0
        """Requests that were due and never sent."""
        self.cpu = 0.0
        """Seconds of CPU that the process used while it measured, over the seconds that it measured."""
        self._before = [0] * len(_EACH)

    def failed(self, count: int, kind: str) -> None:
        """Count `count` sent requests that get no response."""
        self.counters[FAILED] += count
        self.errors[kind] += count

    def opened(self) -> None:
        counters = self.counters
        counters[OPENED] += 1
        counters[OPEN] += 1
        counters[PEAK] = max(counters[PEAK], counters[OPEN])

    def closed(self) -> None:
        self.counters[OPEN] -= 1

    def end_interval(self, seconds: float) -> None:
        """End the interval, which lasted `seconds`: the counts since the last one are its own."""
        self.intervals.append(self._interval(seconds))

    def end_late(self, seconds: float) -> None:
        """End the run, `seconds` after the measured time."""
        self.late = self._interval(seconds)

    def _interval(self, seconds: float) -> Interval:
        counters = self.counters
        so_far = [counters[counter] for counter in _EACH]
        sent, answered, failed, size_out, size_in = (a - b for a, b in zip(so_far, self._before, strict=True))
        self._before = so_far
        coarse = counters[COARSE:RESPONSE]
        times = tuple(((k << COARSE_SHIFT) + (1 << COARSE_SHIFT) - 1, n) for k, n in enumerate(coarse) if n)
        counters[COARSE:RESPONSE] = array("Q", bytes(8 * _COARSE_SIZE))
        return Interval(seconds, sent, answered, failed, size_out, size_in, counters[OPEN], times)

    def add(self, other: Record) -> None:
        """Add another process's figures to these, the peaks too."""
        for bucket, count in enumerate(other.counters):
            if count:
                self.counters[bucket] += count
        self.errors += other.errors
        self.in_flight += other.in_flight
        self.unsent += other.unsent
        self.cpu = max(self.cpu, other.cpu)
        self.late = _joined([self.late, other.late])
        longest = max(len(self.intervals), len(other.intervals))
        self.intervals = [_joined(self.intervals[i : i + 1] + other.intervals[i : i + 1]) for i in range(longest)]

    def histogram(self, offset: int) -> Histogram:
        """Return the histogram that begins at an offset of the counters: RESPONSE, SERVICE, LATENESS or WRONG."""
        return Histogram(self.counters[offset : offset + histogram.SIZE])

    @property
    def statuses(self) -> dict[int, int]:
        return {status: count for status, count in enumerate(self.counters[STATUSES:COARSE]) if count}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for the parent process, without the recorder."""
        return {name: value for name, value in self.__dict__.items() if name != "recorder"}


def _joined(intervals: list[Interval]) -> Interval:
    if len(intervals) == 1:
        return intervals[0]
    times: Counter[int] = Counter()
    for interval in intervals:
        for bucket, count in interval.times:
            times[bucket] += count
    seconds = max(interval.seconds for interval in intervals)
    sent, answered, failed, size_out, size_in, now_open = (
        sum(column) for column in zip(*(interval[1:7] for interval in intervals), strict=True)
    )
    return Interval(seconds, sent, answered, failed, size_out, size_in, now_open, tuple(sorted(times.items())))
