"""The figures for Prometheus, encoded by its own client library (the extra `allcomers[admin]`).

Names and units follow its conventions (https://prometheus.io/docs/practices/naming/): base units, `_total` for
counters. The histogram has every eighth bucket of the response times, one for each half of a power of two: so its
quantiles are coarser than those of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from allcomers.server.admin.interval import bounds, gauges
from allcomers.server.admin.snapshot import Snapshot, WorkerSnapshot, snapshot
from allcomers.system import counters
from allcomers.system.counters import CounterBoard, bucket_start

MISSING: Final = "This needs prometheus_client: pip install 'allcomers[admin]'\n"

_COUNTERS: Final = (
    ("accepted_connections", "Connections accepted.", counters.ACCEPTED, 1.0),
    ("requests", "Requests, or messages to a service, that have arrived.", counters.REQUESTS, 1.0),
    ("aborted_requests", "Requests not answered in full because the client left.", counters.ABORTED, 1.0),
    ("dropped_calls", "Calls that waited for a thread and never began.", counters.DROPPED_CALLS, 1.0),
    ("shed_requests", "Requests, or peers, refused by overload.", counters.SHED, 1.0),
    ("received_bytes", "Bytes received by the sockets.", counters.BYTES_IN, 1.0),
    ("sent_bytes", "Bytes sent by the sockets.", counters.BYTES_OUT, 1.0),
    ("calls", "Calls of the app.", counters.CALLS, 1.0),
    ("app_seconds", "Time in calls of the app.", counters.APP_TIME, 1e9),
    ("wait_seconds", "Time that calls waited for the loop or for a thread.", counters.WAIT_TIME, 1e9),
    ("loop_turns", "Turns of the loops.", counters.TURNS, 1.0),
    ("loop_busy_seconds", "Time in which the loops did not wait for sockets.", counters.BUSY_TIME, 1e9),
    ("hand_overs", "Times that a loop moved on to another thread.", counters.HAND_OVERS, 1.0),
    ("held_refused_requests", "Requests refused because of what all peers hold.", counters.HELD_REFUSED, 1.0),
    ("held_cut_connections", "Connections ended because they held most.", counters.HELD_CUT, 1.0),
)

_GAUGES: Final[tuple[tuple[str, str, Callable[[WorkerSnapshot], float]], ...]] = (
    ("connections", "Open connections: the concurrent users.", lambda worker: gauges(worker.cells)["users"]),
    ("requests_in_progress", "Requests not answered yet.", lambda worker: gauges(worker.cells)["in_progress"]),
    ("queued_calls", "Calls that wait for a thread.", lambda worker: gauges(worker.cells)["queue"]),
    ("held_bytes", "Memory held for peers.", lambda worker: worker.cells[counters.MEMORY_HELD]),
    ("spool_bytes", "Bytes in temporary files.", lambda worker: worker.cells[counters.SPOOL_HELD]),
    ("cpu_seconds", "CPU time of the worker's process.", lambda worker: worker.cpu),
    ("resident_bytes", "Resident memory of the worker's process.", lambda worker: worker.memory),
    ("silent_seconds", "Time since a ping that the worker has not answered.", lambda worker: worker.silent),
)

_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")


class Exposition:
    """An encoder of the figures. Raises ImportError without the library."""

    def __init__(self, board: CounterBoard, labels: dict[str, str]) -> None:
        from prometheus_client import CollectorRegistry

        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Figures(board, labels))

    def encode(self, accept: str) -> tuple[bytes, str]:
        """Return (the figures now, their Content-Type) in a form that the field Accept allows."""
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind


class Figures:
    """A collector for prometheus_client."""

    def __init__(self, board: CounterBoard, labels: dict[str, str]) -> None:
        self._board = board
        self._labels = labels

    def collect(self) -> Iterator[Any]:
        from prometheus_client import metrics_core as core

        now = snapshot(self._board)
        places = [(str(worker.place), worker) for worker in now.workers]
        yield core.InfoMetricFamily("allcomers_server", "The server.", self._labels)
        for name, about, slot, unit in _COUNTERS:
            counter = core.CounterMetricFamily(f"allcomers_{name}", about, labels=["worker"])
            for place, worker in places:
                counter.add_metric([place], worker.cells[slot] / unit)
            yield counter
        answers = core.CounterMetricFamily(
            "allcomers_answers", "Requests answered in full.", labels=["worker", "status"]
        )
        for place, worker in places:
            for at, name in enumerate(_CLASSES):
                answers.add_metric([place, name], worker.cells[counters.ANSWERED + at])
        yield answers
        yield from self._gauges(core, now)
        times = core.HistogramMetricFamily(
            "allcomers_response_seconds", "From a request's first byte to its response's last.", labels=["worker"]
        )
        for place, worker in places:
            buckets = list(_buckets(worker.cells[counters.TIMES :]))
            times.add_metric([place], buckets, worker.cells[counters.RESPONSE_TIME] / 1e9)
        yield times

    def _gauges(self, core: Any, now: Snapshot) -> Iterator[Any]:
        present = [worker for worker in now.workers if worker.state != "free"]
        for name, about, value in _GAUGES:
            gauge = core.GaugeMetricFamily(f"allcomers_{name}", about, labels=["worker"])
            for worker in present:
                gauge.add_metric([str(worker.place)], value(worker))
            yield gauge
        ready = sum(worker.state == "ready" for worker in present)
        for name, most in bounds(now).items():
            yield core.GaugeMetricFamily(f"allcomers_{name}_bytes", "The bound of that, for all workers.", most)
        yield core.GaugeMetricFamily("allcomers_workers", "Workers that are ready.", ready)
        yield core.GaugeMetricFamily("allcomers_workers_wanted", "Workers that are wanted.", now.wanted)
        if now.range != (0, 0):
            for name, count in zip(("min", "max"), now.range, strict=True):
                yield core.GaugeMetricFamily(f"allcomers_workers_{name}", "A bound of the workers wanted.", count)
        yield core.GaugeMetricFamily("allcomers_ready", "1 while /health/ready responds 200.", int(now.ready))


def _buckets(times: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Yield (upper bound in seconds, count) of a histogram; each count includes those below it."""
    seen = 0
    for at in range(0, len(times) - 8, 8):
        seen += sum(times[at : at + 8])
        yield str(bucket_start(at + 8) / 1e9), seen
    yield "+Inf", seen + sum(times[len(times) - 8 :])
