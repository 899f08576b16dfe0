"""The loads, by the names that workloads.py gives them: each checks a server's responses, then drives it for a while.

All keep to the load's core. wrk and the echo load send a request when the response to the last one is complete; h2load
keeps 16 of them in flight on each connection; the 10,000 all send at once, and again when the last is answered. A new
kind of load is a Load in LOADS: a function that returns what was answered in how many seconds.
"""

import math
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.comparison import check, events, http2, sockets
from bench.comparison.workloads import EACH_SECOND, HUNDRED_A_SECOND, TEN_A_SECOND, Workload
from bench.endurance import idle
from bench.support import harness, processes
from bench.support.harness import LOAD_CORE, CannotMeasureError, Server

CONNECTIONS, IN_FLIGHT, HELD, LISTENERS, SHAKING = 64, check.IN_FLIGHT, 10_000, 1000, 16
GRACE = 20.0  # seconds that a load may take beyond its duration
OPENING = 60.0  # seconds for 10,000 connections to be accepted and answered once

UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

Result = dict[str, Any]
"""requests, seconds and errors; p50, p99 and max in ms where each request has a time."""


class Held(NamedTuple):
    """Connections that are open before the load begins, and figures about them."""

    links: list[socket.socket]
    figures: Result


NOTHING = Held([], {})


@dataclass(frozen=True, slots=True)
class Load:
    """A way to load a server.

    check  checks its responses for some seconds, twice at least. Raises CannotMeasureError
    drive  loads it for some seconds
    hold   opens connections before that, and closes them at the end
    """

    check: Callable[[Workload, harness.Address, float], None]
    drive: Callable[[Workload, Server, Held, float], Result]
    hold: Callable[[Server], AbstractContextManager[Held]] = lambda server: nullcontext(NOTHING)


def wrk(workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    """Run wrk with 64 connections."""
    url = f"{'https' if workload.tls else 'http'}://{{}}:{{}}{workload.path}"
    script = "post.lua" if workload.body else "wrk.lua"
    return harness.wrk(server.address, seconds, CONNECTIONS, workload.heads, url, script)


def echo(workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    return harness.echo_load(server.address, seconds, CONNECTIONS)


# h2load --------------------------------------------------------------------------------------------------


def h2load(workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    """Run h2load, HTTP/1.1 with 16 requests in flight on each connection: pipelined."""
    if shutil.which("h2load") is None:
        raise CannotMeasureError("h2load is needed for this load (Debian: apt-get install nghttp2-client)")
    with tempfile.NamedTemporaryFile(prefix="h2load-", suffix=".log") as log:
        shape = ["-t1", f"-c{CONNECTIONS}", f"-m{IN_FLIGHT}", f"-D{math.ceil(seconds)}"]
        command = ["h2load", "--h1", *shape, f"--log-file={log.name}", "http://{}:{}/".format(*server.address)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + GRACE, preexec_fn=harness.in_child(LOAD_CORE)
        )
        if done.returncode:
            raise CannotMeasureError(f"h2load failed: {done.stderr.strip() or done.stdout.strip()[-300:]}")
        return {**h2load_report(done.stdout), **h2load_times(Path(log.name).read_text())}


def h2load_report(output: str) -> Result:
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


def http2_load(
    connections: int, streams: int, workload: Workload, server: Server, held: Held, seconds: float
) -> Result:  # fmt: skip
    """Run h2load over HTTP/2."""
    report, log = http2.drive(connections, streams, workload, server, seconds)
    return {**h2load_report(report), **h2load_times(log)}


# 10,000 connections ---------------------------------------------------------------------------------------


@contextmanager
def ten_thousand(server: Server) -> Iterator[Held]:
    """Hold 10,000 connections beside those that warm up; tell the memory of each while it is idle."""
    links = idle.hold(server.address, idle.WARM_UP)
    try:
        base = processes.anonymous_kib(server.pid)
        until = time.monotonic() + OPENING
        while len(links) < idle.WARM_UP + HELD:
            links += idle.hold(server.address, HELD // 10)
            if time.monotonic() > until:
                raise CannotMeasureError(f"had let in {len(links):,} of {HELD:,} after {OPENING:g} s")
        yield Held(links, {"kb_each": (processes.anonymous_kib(server.pid) - base) * 1.024 / HELD})
    finally:
        for link in links:
            link.close()


def bursts(workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    """Send one request on each connection, all at once; repeat for as long as the seconds last, twice at least."""
    times: list[float] = []
    answered = sent = 0
    started = time.perf_counter()
    while sent < 2 * len(held.links) or time.perf_counter() - started < seconds:
        sent += len(held.links)
        answered += (count := idle.burst(held.links, times=times))
        if count < len(held.links):  # a lost connection would be waited for again and again
            break
    took = time.perf_counter() - started
    return {"requests": answered, "seconds": took, "errors": sent - answered, **of_times(times)}


# WebSockets -----------------------------------------------------------------------------------------------


@contextmanager
def upgraded(count: int, server: Server) -> Iterator[Held]:
    """Hold so many WebSockets."""
    links: list[socket.socket] = []
    try:
        links += (sockets.upgraded(server.address) for _ in range(count))
        yield Held(links, {})
    finally:
        for link in links:
            link.close()


def messages(
    send: Callable[[list[socket.socket], int], int], workload: Workload, server: Server, held: Held, seconds: float
) -> Result:
    """Have the server send messages, some at a time."""
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        count += send(held.links, 5)
    return {"requests": count, "seconds": time.perf_counter() - started, "errors": 0}


# TLS ------------------------------------------------------------------------------------------------------


def handshakes(kind: str, workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    """Make handshakes of TLS 1.3 with the key of P-256, "full" or "resumed", and one request after each."""
    program = harness.compiled("load/handshake_load.c", "ssl", "crypto")
    return harness.load([str(program), str(server.address[1]), str(SHAKING), f"{seconds:g}", kind], seconds)


# Events ---------------------------------------------------------------------------------------------------


@contextmanager
def listening(count: int, path: str, server: Server) -> Iterator[Held]:
    """Hold so many open streams."""
    links: list[socket.socket] = []
    try:
        links += (events.opened(server.address, path) for _ in range(count))
        yield Held(links, {})
    finally:
        for link in links:
            link.close()


def read_events(workload: Workload, server: Server, held: Held, seconds: float) -> Result:
    """Read the events of all streams."""
    started = time.perf_counter()
    delays = events.read(held.links, seconds)
    return {"requests": len(delays), "seconds": time.perf_counter() - started, "errors": 0, **of_times(delays)}


LOADS: dict[str, Load] = {
    "wrk": Load(check.exchange, wrk),
    "h2load": Load(check.pipelined, h2load),
    "1 x 64": Load(http2.check, partial(http2_load, 1, 64)),
    "64 x 10": Load(http2.check, partial(http2_load, CONNECTIONS, 10)),
    "64 x 1": Load(http2.check, partial(http2_load, CONNECTIONS, 1)),
    "held": Load(check.exchange, bursts, ten_thousand),
    "echo": Load(check.echo, echo),
    "full handshakes": Load(check.exchange, partial(handshakes, "full")),
    "resumed handshakes": Load(check.exchange, partial(handshakes, "resumed")),
    "websocket": Load(check.websocket, partial(messages, sockets.echo_each), partial(upgraded, CONNECTIONS)),
    "broadcast": Load(check.websocket, partial(messages, sockets.to_all), partial(upgraded, LISTENERS)),
    "events": Load(check.events, read_events, partial(listening, LISTENERS, EACH_SECOND)),
    "many-events": Load(check.events, read_events, partial(listening, LISTENERS, TEN_A_SECOND)),
    "lone-events": Load(check.events, read_events, partial(listening, 1, HUNDRED_A_SECOND)),
}
