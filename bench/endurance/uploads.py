"""Upload and download of 1 GB: the server's memory above its idle level, and the throughput.

The app counts an upload's bytes, read in pieces of 64 KiB, and answers a download with as many pieces; the client
checks both counts. Clients are plain sockets in one process on a core of its own; with --clients each sends, or
fetches, 1 GB of its own at the same time. Memory is the RSS of the server's whole process tree (the sum over its
processes, /proc/PID/statm), sampled each 10 ms: the highest sample while bytes move, less the highest while the warm
server was idle. A body that waits in a temporary file is on disk and in the kernel's page cache, which RSS does not
count; what an app reads is.
"""

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.support import clients, harness, processes
from bench.support.harness import Address

GOAL = 64.0
"""MB above the idle server: the goal."""

PAGE = os.sysconf("SC_PAGE_SIZE")
PIECE = bytes(1 << 20)
EACH = 0.01
APPS = {"web": "Bulk", "wsgi": "bulk_wsgi", "asgi": "bulk_asgi"}


def options(parser: argparse.ArgumentParser) -> None:
    servers = ["epoll:pool", "thread:inline", "asyncio:inline"]
    parser.add_argument("--models", type=harness.names, default=servers, metavar="MODEL:CALLS,...")
    parser.add_argument("--apps", type=harness.names, default=["wsgi", "asgi"], help="web, wsgi, asgi")
    parser.add_argument("--kinds", type=harness.names, default=list(KINDS), help="upload, download (default: both)")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=1, help="concurrent clients")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    measured = []
    for app in args.apps:
        for server in args.models:
            for kind in args.kinds:
                measured.append(measure(app, server, kind, args))
                print(f"  {app} {server} {kind}: done", flush=True)
    print(f"\n{args.megabytes:,} MB each, {args.clients} at once; memory in MB, goal below {GOAL:g} over idle\n")
    harness.table(
        ["app, model:calls, kind", "MB/s", "idle", "peak", "over idle", "goal"],
        [
            [
                f"{m['app']} {m['server']} {m['kind']}",
                f"{m['megabytes'] / m['seconds']:.0f}",
                f"{m['idle']:.1f}",
                f"{m['peak']:.1f}",
                f"{m['peak'] - m['idle']:.1f}",
                "met" if m["peak"] - m["idle"] < GOAL else "MISSED",
            ]
            for m in measured
        ],
    )
    harness.save("uploads", measured)


def measure(app: str, server: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    model, _, calls = server.partition(":")
    options = ["-m", model, "--max-body", "4G", *(("--calls", calls) if calls and app != "asgi" else ())]
    with harness.serving(harness.allcomers("run", f"bench/support/apps.py:{APPS[app]}", *options)) as started:
        job = KINDS[kind]
        job(started.address, 1 << 20)  # warm: imports, and what the first request makes
        with Sampler(started.pid) as idle:
            time.sleep(1.0)
        with Sampler(started.pid) as busy:
            seconds = at_once(job, started.address, args.megabytes * 1_000_000, args.clients)
    return {
        "app": app,
        "server": server,
        "kind": kind,
        "idle": idle.peak,
        "peak": busy.peak,
        "samples": busy.samples,
        "seconds": seconds,
        "megabytes": args.megabytes * args.clients,
    }


def at_once(job: Callable[[Address, int], None], address: Address, size: int, count: int) -> float:
    """Run so many clients, each a process; return the seconds until the last is done."""
    start_time = time.monotonic()
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=job, args=(address, size)) for _ in range(count)]
    for client in crowd:
        client.start()
    for client in crowd:
        client.join()
    if any(client.exitcode for client in crowd):
        raise harness.CannotMeasureError("a client failed; see above")
    return time.monotonic() - start_time


def upload(address: Address, size: int) -> None:
    """Send `size` bytes; the response is how many the app has read."""
    with clients.connect(address, timeout=120) as sock:
        sock.sendall(b"POST /bulk HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            left -= sock.send(PIECE[:left])
        answer = clients.receive(sock)
    if answer.body != b"%d" % size:
        raise ConnectionError(f"an upload of {size} bytes was answered {answer}")


def download(address: Address, size: int) -> None:
    """Fetch `size` bytes, chunked or with a Content-Length, and count them."""
    with clients.connect(address, timeout=120) as sock:
        sock.sendall(b"GET /bulk?%d HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n" % size)
        head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
        count, buffer = len(body), bytearray(1 << 18)
        while piece := sock.recv_into(buffer):
            count += piece
    # Chunked, each piece of 64 KiB has some bytes of framing.
    if not head.startswith(b"HTTP/1.1 200") or not size <= count <= size * 1.001 + 1000:
        raise ConnectionError(f"a download of {size} bytes gave {count}: {head!r}")


KINDS = {"upload": upload, "download": download}


class Sampler:
    """The memory of a process tree for the length of a block.

    peak     MB, the highest sum of RSS
    samples  their number
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self.samples = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EACH):
            self.peak = max(self.peak, sum(resident(pid) for pid in processes.tree(self._pid)) / 1e6)
            self.samples += 1


def resident(pid: int) -> int:
    """Return bytes of RSS; 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
