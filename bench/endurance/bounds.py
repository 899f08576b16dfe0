"""Bounds over all peers: the memory of a server that slow peers fill, against what the ledger counts.

Five crowds, one after the other, each against a server of its own with --max-memory-held and --max-spool:

    uploads    400 clients that send 511 KiB of 512 and stop
    unread     24 clients that ask for 8 MB each and read nothing
    slow       10,000 clients that send a head of 30 KB without its end (20,000 descriptors, 10,000 of the server)
    websocket  24 clients whose begun message of 16 KB inflates to 16 MB
    mixed      uploads, unread responses and messages at once

Memory is the RSS of the server's whole process tree; `held` and `spool` are the ledger's, from --admin. Each is the
highest of the samples while the crowd is there. All crowds are bounded, and on the loopback.
"""

import argparse
import contextlib
import json
import resource
import socket
import time
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.endurance.uploads import resident
from bench.support import harness, processes
from bench.support.harness import Address

EACH = 0.1
"""Seconds between two samples."""

PATIENT = ("--overload", "off", "--min-rate", "0", "--head-timeout", "60", "--graceful-timeout", "1")
"""The bounds alone are measured: no peer is ended for its slowness."""

LAST = 8.0
"""Seconds for which a crowd stays."""

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crowds", type=harness.names, default=list(CROWDS), help=", ".join(CROWDS))
    parser.add_argument("--model", default="epoll", help="of all but websocket, which has asyncio")
    parser.add_argument("--held", default="64M", help="--max-memory-held")
    parser.add_argument("--spool", default="128M", help="--max-spool")


def run(args: argparse.Namespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 12_000)), hard))  # the server inherits it
    measured = [measure(crowd, args) for crowd in args.crowds]
    print(f"\n--max-memory-held {args.held} --max-spool {args.spool}; MB\n")
    rows = [
        [
            *(m["crowd"], m["model"]),
            *(f"{m[name]:.1f}" for name in ("idle", "rss", "held", "spool")),
            *(f"{m[name]:,}" for name in ("refused", "cut", "left")),
        ]
        for m in measured
    ]
    harness.table(["crowd", "model", "RSS idle", "RSS", "held", "spool", "refused", "cut", "still there"], rows)
    harness.save("bounds", measured)


def measure(crowd: str, args: argparse.Namespace) -> dict[str, Any]:
    is_async = crowd in ("websocket", "mixed")
    model = "asyncio" if is_async else args.model
    target = f"bench/support/apps.py:{'held_asgi' if is_async else 'held_wsgi'}"
    limits = ("--max-memory-held", args.held, "--max-spool", args.spool, *PATIENT)
    with harness.serving(harness.allcomers("run", target, "-m", model, "--admin", "127.0.0.1:0", *limits)) as started:
        admin = _admin(started.log)
        idle = _rss(started.pid)
        found = {"crowd": crowd, "model": model, "idle": idle, "rss": idle, "held": 0.0, "spool": 0.0}
        socks = CROWDS[crowd](started.address)
        try:
            end = time.monotonic() + LAST
            while time.monotonic() < end:
                stats = json.load(urllib.request.urlopen(f"http://{admin}/stats.json", timeout=10))
                found["rss"] = max(found["rss"], _rss(started.pid))
                found["held"] = max(found["held"], stats["held"] / 1e6)
                found["spool"] = max(found["spool"], stats["spool"] / 1e6)
                time.sleep(EACH)
        finally:
            for sock in socks:
                sock.close()
    return found | {
        "refused": stats["totals"]["held_refused"],
        "cut": stats["totals"]["held_cut"],
        "left": stats["users"],
    }


def _admin(log: Path) -> str:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if "Admin at: http://" in line:
                return line.rpartition("http://")[2].strip()
        time.sleep(EACH)
    raise harness.CannotMeasureError("the server has no --admin")


def _rss(pid: int) -> float:
    return sum(resident(process) for process in processes.tree(pid)) / 1e6


# ---------------------------------------------------------------- crowds


def _connect(address: Address, data: bytes) -> socket.socket:
    """Return a client that receives little, and has sent as much of `data` as the server took."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect(address)
    with contextlib.suppress(OSError):  # it was refused meanwhile
        sock.sendall(data)
    return sock


def uploads(address: Address, count: int = 400) -> list[socket.socket]:
    """Send all of a body but its last KiB."""
    size = 512 << 10
    head = b"POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % size
    return [_connect(address, head + bytes(size - 1024)) for _ in range(count)]


def unread(address: Address, count: int = 24) -> list[socket.socket]:
    """Ask for 8 MB, and read nothing."""
    return [_connect(address, b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n") for _ in range(count)]


def slow(address: Address, count: int = 10_000) -> list[socket.socket]:
    """Send 30 KB of a head that does not end."""
    return [_connect(address, b"GET / HTTP/1.1\r\nHost: bench\r\nX: " + b"x" * 30_000) for _ in range(count)]


def websocket(address: Address, count: int = 24) -> list[socket.socket]:
    """Begin a message that inflates to 16 MB."""
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(bytes(16_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    frame = b"\x42\xfe" + len(bomb).to_bytes(2, "big") + bytes(4) + bomb  # a fragment with RSV1, and a mask of zeros
    socks = []
    for _ in range(count):
        sock = _connect(address, HANDSHAKE)
        if b" 101 " in sock.recv(4096):  # else it was refused
            sock.sendall(frame)
        socks.append(sock)
    return socks


def mixed(address: Address) -> list[socket.socket]:
    """Do all of it at once, but for the 10,000."""
    return [*uploads(address, 200), *unread(address), *websocket(address)]


CROWDS: dict[str, Callable[[Address], list[socket.socket]]] = {
    "uploads": uploads,
    "unread": unread,
    "slow": slow,
    "websocket": websocket,
    "mixed": mixed,
}
