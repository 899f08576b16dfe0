"""The figures between two snapshots: rates, means, and percentiles of the response times counted in between.

A percentile comes from buckets of 1/16 of the time, and is interpolated within one as if its times were spread evenly.
So its error is at most 6 %, and mostly much less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from allcomers.models import TABLE
from allcomers.server.admin.snapshot import Snapshot, WorkerSnapshot
from allcomers.system import counters
from allcomers.system.counters import bucket_start

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


def percentile(counts: Sequence[int], share: float) -> float:
    """Return the seconds that `share` percent of the response times do not exceed; 0.0 if there are none."""
    wanted = sum(counts) * share / 100
    if not wanted:
        return 0.0
    seen = 0
    last = 0
    for index, count in enumerate(counts):
        if not count:
            continue
        if seen + count >= wanted:
            low, high = bucket_start(index), bucket_start(index + 1)
            return (low + (high - low) * (wanted - seen) / count) / 1e9
        seen += count
        last = index
    return bucket_start(last + 1) / 1e9


def highest(counts: Sequence[int]) -> int:
    """Return the last index that has a count; -1 if none has."""
    return next((index for index in range(len(counts) - 1, -1, -1) if counts[index]), -1)


_KEPT: Final = (
    *(counters.CONNECTIONS, counters.HTTP2_CONNECTIONS, counters.POOLED, counters.MEMORY_HELD, counters.SPOOL_HELD),
)


def differences(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Subtract cell by cell; gauges stay as they are now. None is below 0, also for a place that is new."""
    changes = [max(0, now - then) for then, now in zip(before, after, strict=True)]
    for gauge in _KEPT:
        changes[gauge] = after[gauge]
    return changes


def figures(cells: Sequence[int], seconds: float) -> dict[str, Any]:
    """Return the figures of a span from its cells. Times are in seconds, rates per second."""
    answers = cells[counters.ANSWERED : counters.ANSWERED + counters.CLASSES]
    times = cells[counters.TIMES :]
    lags = cells[counters.LAG : counters.LAG + counters.LAGS]
    calls = max(1, cells[counters.CALLS])
    answered = sum(answers)
    return {
        "qps": cells[counters.REQUESTS] / seconds,
        "tps": answered / seconds,
        "answers": {_CLASSES[at]: count / seconds for at, count in enumerate(answers) if count},
        "statuses": {status: count / seconds for status, count in statuses(cells).items()},
        "aborted": cells[counters.ABORTED] / seconds,
        "shed": cells[counters.SHED] / seconds,
        "accepted": cells[counters.ACCEPTED] / seconds,
        "bytes_in": cells[counters.BYTES_IN] / seconds,
        "bytes_out": cells[counters.BYTES_OUT] / seconds,
        **{f"p{share:g}": percentile(times, share) for share in PERCENTILES},
        "max": bucket_start(highest(times) + 1) / 1e9 if answered else 0.0,
        "mean": cells[counters.RESPONSE_TIME] / 1e9 / max(1, answered),
        "app": cells[counters.APP_TIME] / 1e9 / calls,
        "wait": cells[counters.WAIT_TIME] / 1e9 / calls,
        "in_app": cells[counters.APP_TIME] / 1e9 / seconds,
        "busy": cells[counters.BUSY_TIME] / 1e9 / seconds,
        "lag": (1 << highest(lags)) / 1e6 if any(lags) else 0.0,
        "hand_overs": cells[counters.HAND_OVERS] / seconds,
    }


_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")


def statuses(cells: Sequence[int]) -> dict[str, int]:
    """Return the count of each status from 400 on that there was."""
    own = zip(counters.FAILURES, cells[counters.STATUSES :], strict=False)
    return {str(status): count for status, count in own if count}


def gauges(cells: Sequence[int]) -> dict[str, int]:
    """Return the gauges of one snapshot."""
    answered = sum(cells[counters.ANSWERED : counters.ANSWERED + counters.CLASSES])
    return {
        "users": cells[counters.CONNECTIONS],
        "http2_users": cells[counters.HTTP2_CONNECTIONS],
        "in_progress": max(0, cells[counters.REQUESTS] - answered - cells[counters.ABORTED]),
        "queue": max(0, cells[counters.QUEUED] - cells[counters.DEQUEUED]),
        "held": cells[counters.MEMORY_HELD],
        "spool": cells[counters.SPOOL_HELD],
    }


def totals(cells: Sequence[int]) -> dict[str, Any]:
    """Return the counts since the server started."""
    answers = cells[counters.ANSWERED : counters.ANSWERED + counters.CLASSES]
    return {
        "requests": cells[counters.REQUESTS],
        "answered": sum(answers),
        "answers": {_CLASSES[at]: count for at, count in enumerate(answers) if count},
        "statuses": statuses(cells),
        "aborted": cells[counters.ABORTED],
        "shed": cells[counters.SHED],
        "dropped": cells[counters.DROPPED_CALLS],
        "accepted": cells[counters.ACCEPTED],
        "bytes_in": cells[counters.BYTES_IN],
        "bytes_out": cells[counters.BYTES_OUT],
        "hand_overs": cells[counters.HAND_OVERS],
        "held_refused": cells[counters.HELD_REFUSED],
        "held_cut": cells[counters.HELD_CUT],
    }


def bounds(snapshot: Snapshot) -> dict[str, int]:
    """Return the bounds of what is held for all peers, as the workers have them."""
    return {
        "held_limit": max((worker.cells[counters.MEMORY_LIMIT] for worker in snapshot.workers), default=0),
        "spool_limit": max((worker.cells[counters.SPOOL_LIMIT] for worker in snapshot.workers), default=0),
    }


def reload(snapshot: Snapshot) -> dict[str, Any]:
    """Return the last reload: its state, the seconds since it began, the workers that it has still to replace."""
    state, began, left = snapshot.reload
    return {"state": state, "age": max(0.0, snapshot.time - began) if began else 0.0, "left": left}


def scaled(snapshot: Snapshot) -> dict[str, Any]:
    """Return the last change of the number of workers: its reason, the seconds since then, whether it was one more."""
    reason, when, is_more = snapshot.scaled
    return {"reason": reason, "age": max(0.0, snapshot.time - when) if when else 0.0, "more": is_more}


def between(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return the figures of all workers from one snapshot to a later one."""
    seconds = max(1e-3, after.time - before.time)
    return {"seconds": seconds, **figures(differences(before.total, after.total), seconds)}


def cpu(before: Snapshot, after: Snapshot) -> float:
    """Return how many cores the workers used. Only workers in both snapshots count."""
    earlier = {worker.pid: worker.cpu for worker in before.workers if worker.pid}
    used = sum(max(0.0, worker.cpu - earlier[worker.pid]) for worker in after.workers if worker.pid in earlier)
    return used / max(1e-3, after.time - before.time)


def of_worker(before: WorkerSnapshot | None, after: WorkerSnapshot, seconds: float, now: float) -> dict[str, Any]:
    """Return the figures of one worker, for a row of a table."""
    cells = after.cells if before is None else differences(before.cells, after.cells)
    used = after.cpu - before.cpu if before is not None and before.pid == after.pid else 0.0
    own = figures(cells, seconds)
    return {
        "place": after.place,
        "pid": after.pid,
        "model": counters.named(("", *TABLE), after.cells[counters.MODEL]),
        "calls": counters.named(counters.WHERES, after.cells[counters.WHERE]),
        "state": "silent" if after.silent and after.state == "ready" else after.state,
        "age": max(0.0, now - after.born),
        "silent": after.silent,
        **gauges(after.cells),
        **{name: own[name] for name in ("qps", "tps", "p50", "p99", "busy", "lag")},
        "cpu": max(0.0, used) / seconds,
        "memory": after.memory,
        "pooled": bool(after.cells[counters.POOLED]),
    }


def heat(before: Snapshot, after: Snapshot) -> list[list[int]]:
    """Return [step, count] of the response times of a span. A step is half a power of two: 8 buckets."""
    times = differences(before.total, after.total)[counters.TIMES :]
    steps = [sum(times[at : at + 8]) for at in range(0, len(times), 8)]
    return [[at, count] for at, count in enumerate(steps) if count]
