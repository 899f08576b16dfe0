"""The figures for Prometheus, by its own client library's exposition (the extra `allcomers[admin]`).

Names and units are as Prometheus has them (https://prometheus.io/docs/practices/naming/): base units, `_total` for what
only grows. Of the response times' buckets each eighth is told, one for each half of a power of two: quantiles
that Prometheus reckons from them are coarser than those of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from allcomers.server.admin.interval import gauges
from allcomers.server.admin.snapshot import Look, look
from allcomers.system import counters
from allcomers.system.counters import CounterBoard, bucket_start

MISSING: Final = "This needs prometheus_client: pip install 'allcomers[admin]'\n"

_COUNTERS: Final = (
    ("accepted_connections", "Connections that were let in.", counters.ACCEPTED, 1.0),
    ("requests", "Requests, or a service's messages, that have arrived.", counters.REQUESTS, 1.0),
    ("aborted_requests", "Requests that were not answered in full: the peer went.", counters.ABORTED, 1.0),
    ("received_bytes", "As the sockets carried them.", counters.BYTES_IN, 1.0),
    ("sent_bytes", "As the sockets carried them.", counters.BYTES_OUT, 1.0),
    ("calls", "Calls of the app.", counters.CALLS, 1.0),
    ("app_seconds", "Time in calls of the app.", counters.APP_TIME, 1e9),
    ("wait_seconds", "Time that calls have waited for the loop or for a thread.", counters.WAIT_TIME, 1e9),
    ("loop_turns", "Turns of the loops.", counters.TURNS, 1.0),
    ("loop_busy_seconds", "Time in which the loops did not wait.", counters.BUSY_TIME, 1e9),
    ("hand_overs", "Times that a loop moved on to another thread.", counters.HAND_OVERS, 1.0),
)

_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")


class Exposition:
    """Raises ImportError where the library is missing."""

    def __init__(self, board: CounterBoard, labels: dict[str, str]) -> None:
        from prometheus_client import CollectorRegistry

        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Figures(board, labels))

    def answer(self, accept: str) -> tuple[bytes, str]:
        """(what is told now, its Content-Type) for a client that takes what `accept` says."""
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind


class Figures:
    """A collector of prometheus_client's."""

    def __init__(self, board: CounterBoard, labels: dict[str, str]) -> None:
        self._board = board
        self._labels = labels

    def collect(self) -> Iterator[Any]:
        from prometheus_client import metrics_core as core

        now = look(self._board)
        places = [(str(worker.place), worker) for worker in now.workers]
        yield core.InfoMetricFamily("allcomers_server", "What serves.", self._labels)
        for name, about, slot, unit in _COUNTERS:
            counter = core.CounterMetricFamily(f"allcomers_{name}", about, labels=["worker"])
            for place, worker in places:
                counter.add_metric([place], worker.cells[slot] / unit)
            yield counter
        answers = core.CounterMetricFamily("allcomers_answers", "Answered in full.", labels=["worker", "status"])
        for place, worker in places:
            for at, name in enumerate(_CLASSES):
                answers.add_metric([place, name], worker.cells[counters.ANSWERED + at])
        yield answers
        yield from self._gauges(core, now)
        times = core.HistogramMetricFamily(
            "allcomers_response_seconds", "From a request's first byte to its answer's last.", labels=["worker"]
        )
        for place, worker in places:
            buckets = list(_buckets(worker.cells[counters.TIMES :]))
            times.add_metric([place], buckets, worker.cells[counters.RESPONSE_TIME] / 1e9)
        yield times

    def _gauges(self, core: Any, now: Look) -> Iterator[Any]:
        there = [worker for worker in now.workers if worker.state != "free"]
        own = [(str(worker.place), gauges(worker.cells), worker) for worker in there]
        for name, about, values in (
            ("connections", "Open now: the concurrent users.", [(place, now["users"]) for place, now, _ in own]),
            ("requests_in_progress", "Not answered yet.", [(place, now["in_progress"]) for place, now, _ in own]),
            ("queued_calls", "Calls that wait for a thread.", [(place, now["queue"]) for place, now, _ in own]),
            ("cpu_seconds", "CPU time of the worker's process.", [(place, worker.cpu) for place, _, worker in own]),
            ("resident_bytes", "Memory of it.", [(place, float(worker.memory)) for place, _, worker in own]),
            ("silent_seconds", "For which it owes a sign of life.", [(place, each.silent) for place, _, each in own]),
        ):
            gauge = core.GaugeMetricFamily(f"allcomers_{name}", about, labels=["worker"])
            for place, value in values:
                gauge.add_metric([place], value)
            yield gauge
        yield core.GaugeMetricFamily("allcomers_workers", "That are ready.", sum(w.state == "ready" for w in there))
        yield core.GaugeMetricFamily("allcomers_workers_wanted", "As many are to be.", now.wanted)
        yield core.GaugeMetricFamily("allcomers_ready", "1 while /health/ready says yes.", int(now.ready))


def _buckets(times: Sequence[int]) -> Iterator[tuple[str, float]]:
    """(at most so many seconds, so many) of a histogram, each count with those below it."""
    seen = 0
    for at in range(0, len(times) - 8, 8):
        seen += sum(times[at : at + 8])
        yield str(bucket_start(at + 8) / 1e9), seen
    yield "+Inf", seen + sum(times[len(times) - 8 :])
