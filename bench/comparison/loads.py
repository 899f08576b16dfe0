"""The loads: wrk, h2load, 10,000 clients in Python, or the echo load. Each gives requests, seconds, errors; times in
ms.

All keep to the load's core. wrk and the echo load send a request when the response to the last one is complete; h2load
keeps 16 of them in flight on each connection; the 10,000 all send at once, and again when the last is answered.
"""

import math
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.comparison.workloads import Workload
from bench.endurance import idle
from bench.support import harness
from bench.support.harness import LOAD_CORE, Address, CannotMeasureError

CONNECTIONS, IN_FLIGHT, HELD = 64, 16, 10_000
GRACE = 20.0  # seconds that a load may take beyond its duration

UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def closed(workload: Workload, address: Address, seconds: float) -> dict[str, Any]:
    """Run wrk with 64 connections for `seconds`."""
    if workload.load == "echo":
        return harness.echo_load(address, seconds, CONNECTIONS)
    if workload.load == "h2load":
        return h2load(address, seconds)
    url = f"{'https' if workload.tls else 'http'}://{{}}:{{}}{workload.path}"
    script = "post.lua" if workload.body else "wrk.lua"
    return harness.wrk(address, seconds, CONNECTIONS, workload.heads, url, script)


# h2load --------------------------------------------------------------------------------------------------


def h2load(address: Address, seconds: float) -> dict[str, Any]:
    """Run h2load, HTTP/1.1 with 16 requests in flight on each connection: pipelined."""
    if shutil.which("h2load") is None:
        raise CannotMeasureError("h2load is needed for this load (Debian: apt-get install nghttp2-client)")
    with tempfile.NamedTemporaryFile(prefix="h2load-", suffix=".log") as log:
        shape = ["-t1", f"-c{CONNECTIONS}", f"-m{IN_FLIGHT}", f"-D{math.ceil(seconds)}"]
        command = ["h2load", "--h1", *shape, f"--log-file={log.name}", "http://{}:{}/".format(*address)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + GRACE, preexec_fn=harness.in_child(LOAD_CORE)
        )
        if done.returncode:
            raise CannotMeasureError(f"h2load failed: {done.stderr.strip() or done.stdout.strip()[-300:]}")
        return {**h2load_report(done.stdout), **h2load_times(Path(log.name).read_text())}


def h2load_report(output: str) -> dict[str, Any]:
    """Read its output: requests that were answered 2xx, the seconds that this took, and all others as errors.

    Requests in flight when the time was over are neither.
    """
    took = re.search(r"^finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", output, re.M)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if took is None or counts is None:
        raise CannotMeasureError(f"h2load's report cannot be read: {output[-300:]!r}")
    done, succeeded, failed, _, timeout = map(int, counts.groups())
    rate = float(took[3])
    seconds = done / rate if rate else float(took[1]) * UNIT[took[2]]
    return {"requests": succeeded, "seconds": seconds, "errors": failed + timeout}


def h2load_times(log: str) -> dict[str, float]:
    """Read its log of one request a line: when, status, µs."""
    micros = [int(line.rpartition("\t")[2]) for line in log.splitlines() if "\t2" in line]
    return of_times([each / 1000 for each in micros])


def of_times(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50": harness.percentile(ordered, 50),
        "p90": harness.percentile(ordered, 90),
        "p99": harness.percentile(ordered, 99),
        "max": ordered[-1] if ordered else math.nan,
    }


# 10,000 connections ---------------------------------------------------------------------------------------


def bursts(held: list[socket.socket], seconds: float) -> dict[str, Any]:
    """Send one request on each connection, all at once; repeat for as long as the seconds last, twice at least."""
    times: list[float] = []
    answered = sent = 0
    started = time.perf_counter()
    while sent < 2 * len(held) or time.perf_counter() - started < seconds:
        sent += len(held)
        answered += (count := idle.burst(held, times=times))
        if count < len(held):  # a lost connection would be waited for again and again
            break
    took = time.perf_counter() - started
    return {"requests": answered, "seconds": took, "errors": sent - answered, **of_times(times)}
