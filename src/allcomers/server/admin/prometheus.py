"""The figures in the text that Prometheus reads.

Names and units follow its conventions (https://prometheus.io/docs/practices/naming/): base units, `_total` for
counters. The histogram has every eighth bucket of the response times, one for each half of a power of two: so its
quantiles are coarser than those of the page. The text is small, so it is written here rather than by a library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from allcomers.server.admin.by_route import totals
from allcomers.server.admin.interval import bounds, gauges
from allcomers.server.admin.snapshot import Snapshot, WorkerSnapshot, snapshot
from allcomers.system import counters
from allcomers.system.counters import CounterBoard, bucket_start
from allcomers.system.diagnostics.route_board import RouteBoard

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What every version of Prometheus reads (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The same figures for who asks for it (OpenMetrics 1.0): the names of families differ, and the end is marked."""

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
    ("http2_connections", "Of these, those that use HTTP/2.", lambda worker: gauges(worker.cells)["http2_users"]),
    ("requests_in_progress", "Requests not answered yet.", lambda worker: gauges(worker.cells)["in_progress"]),
    ("queued_calls", "Calls that wait for a thread.", lambda worker: gauges(worker.cells)["queue"]),
    ("held_bytes", "Memory held for peers.", lambda worker: worker.cells[counters.MEMORY_HELD]),
    ("spool_bytes", "Bytes in temporary files.", lambda worker: worker.cells[counters.SPOOL_HELD]),
    ("cpu_seconds", "CPU time of the worker's process.", lambda worker: worker.cpu),
    ("resident_bytes", "Resident memory of the worker's process.", lambda worker: worker.memory),
    ("silent_seconds", "Time since a ping that the worker has not answered.", lambda worker: worker.silent),
)

_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
"""What a label's value must not have as it is."""


class Sample(NamedTuple):
    """One line: `labels` and a value of a family, whose name `suffix` follows."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """Samples of one name. `kind`: counter, gauge, histogram or info."""

    name: str
    kind: str
    about: str
    samples: list[Sample]

    def lines(self, is_open: bool) -> Iterator[str]:
        """Yield the lines, in the form of OpenMetrics if `is_open`."""
        name = f"allcomers_{self.name}"
        own = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        kind = "gauge" if self.kind == "info" and not is_open else self.kind
        declared = name if is_open else name + own
        yield f"# HELP {declared} {self.about}"
        yield f"# TYPE {declared} {kind}"
        for labels, value, suffix in self.samples:
            yield f"{name}{own}{suffix}{_label_set(labels)} {float(value)!r}"


def exposition(
    board: CounterBoard, routes: RouteBoard | None, labels: Mapping[str, str], accept: str
) -> tuple[bytes, str]:
    """Return (the figures now, their Content-Type), in a form that the field Accept asks for.

    routes  counts by route, if there are any
    labels  facts about the server
    """
    is_open = "application/openmetrics-text" in accept
    now = snapshot(board)
    families = chain(_families(now, labels), [] if routes is None else _by_route(totals(routes, board.highest)))
    lines = [line for family in families for line in family.lines(is_open)]
    if is_open:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode(), OPEN_METRICS if is_open else TEXT


def _families(now: Snapshot, labels: Mapping[str, str]) -> Iterator[Family]:
    places = [({"worker": str(worker.place)}, worker.cells) for worker in now.workers]
    yield Family("server", "info", "The server.", [Sample(labels, 1)])
    for name, about, slot, unit in _COUNTERS:
        yield Family(name, "counter", about, [Sample(place, cells[slot] / unit) for place, cells in places])
    answers = [
        Sample({**place, "status": name}, cells[counters.ANSWERED + at])
        for place, cells in places
        for at, name in enumerate(_CLASSES)
    ]
    yield Family("answers", "counter", "Requests answered in full.", answers)
    yield from _gauges(now)
    times = [sample for place, cells in places for sample in _histogram(place, cells)]
    yield Family("response_seconds", "histogram", "From a request's first byte to its response's last.", times)


def _gauges(now: Snapshot) -> Iterator[Family]:
    present = [worker for worker in now.workers if worker.state != "free"]
    for name, about, value in _GAUGES:
        samples = [Sample({"worker": str(worker.place)}, value(worker)) for worker in present]
        yield Family(name, "gauge", about, samples)
    for name, most in bounds(now).items():
        yield _gauge(f"{name}_bytes", "The bound of that, for all workers.", most)
    yield _gauge("workers", "Workers that are ready.", sum(worker.state == "ready" for worker in present))
    yield _gauge("workers_wanted", "Workers that are wanted.", now.wanted)
    if now.range != (0, 0):
        for name, count in zip(("min", "max"), now.range, strict=True):
            yield _gauge(f"workers_{name}", "A bound of the workers wanted.", count)
    yield _gauge("ready", "1 while /health/ready responds 200.", now.ready)


def _gauge(name: str, about: str, value: float) -> Family:
    return Family(name, "gauge", about, [Sample({}, value)])


def _by_route(cells_of: Mapping[str, Sequence[int]]) -> Iterator[Family]:
    """Yield the figures of all workers, by route: at most ROUTES and the others."""
    answers = [
        Sample({"route": route, "status": name}, cells[counters.ANSWERED + at])
        for route, cells in cells_of.items()
        for at, name in enumerate(_CLASSES)
        if cells[counters.ANSWERED + at]
    ]
    yield Family("route_answers", "counter", "Responses of the app, by route.", answers)
    times = [sample for route, cells in cells_of.items() for sample in _histogram({"route": route}, cells, 32)]
    yield Family("route_seconds", "histogram", "From a call of the app until its response begins, by route.", times)


def _histogram(place: Mapping[str, str], cells: Sequence[int], step: int = 8) -> Iterator[Sample]:
    """Yield the times of a row in buckets of `step` of its own; each counts those below it, too."""
    times = cells[counters.TIMES :]
    seen = 0
    end = len(times) - len(times) % step or len(times)
    for at in range(0, end - step, step):
        seen += sum(times[at : at + step])
        yield Sample({**place, "le": str(bucket_start(at + step) / 1e9)}, seen, "_bucket")
    seen += sum(times[end - step :])
    yield Sample({**place, "le": "+Inf"}, seen, "_bucket")
    yield Sample(place, seen, "_count")
    yield Sample(place, cells[counters.RESPONSE_TIME] / 1e9, "_sum")


def _label_set(labels: Mapping[str, str]) -> str:
    escaped = ((name, value.translate(_ESCAPES)) for name, value in labels.items())
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}" if labels else ""
