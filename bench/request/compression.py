"""What --compress costs and gains for 10 KB of JSON: each coding by itself, then the CPU time of a request in a server.

    python bench/request/compression.py

CPU time, the least of many runs; of the server, user and system time of its worker, over requests on one connection.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import timeit
from pathlib import Path

from allcomers.apps.compression.codings import available

ROOT = Path(__file__).parents[2]
COUNT = 2000
ROUNDS = 5

ROWS = [
    {"id": n, "name": f"name {n}", "email": f"user{n * 7919 % 10007}@example.org", "score": n * 7919 % 10007 / 100}
    for n in range(130)
]
DATA = json.dumps(ROWS).encode()


def app(environ: dict[str, object], start_response: object) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])  # type: ignore[operator]
    return [DATA]


def codings() -> None:
    print(f"{len(DATA)} bytes of JSON")
    for coding in available():
        count = 50
        times = timeit.repeat(lambda: coding.whole(DATA), time.process_time, number=count, repeat=100)  # noqa: B023
        print(f"  {coding.name:8} {min(times) / count * 1e6:6.1f} µs  {len(coding.whole(DATA)) / len(DATA):6.1%}")


def server(*options: str) -> None:
    """Print the CPU time of a request, plain and by each coding."""
    words = ["-m", "allcomers", "run", f"{__file__}:app", "-m", "epoll", "--bind", "127.0.0.1:0", *options]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"Listening at: \w+://(.+):(\d+) ", said)):
            said += process.stderr.readline()
        worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        for accept in ("identity", *(coding.name for coding in available() if options)):
            with socket.create_connection((found[1], int(found[2]))) as sock:
                request = f"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\n\r\n".encode()
                cost, size = min(_round(sock, request, worker) for _ in range(ROUNDS))
            print(f"  {' '.join(options) or 'plain':12} {accept:8} {cost * 1e6:6.1f} µs of CPU, {size} bytes")
    finally:
        process.terminate()
        process.wait()


def _round(sock: socket.socket, request: bytes, worker: int) -> tuple[float, int]:
    """Return the seconds of CPU of a request, and the bytes of its response."""
    sock.sendall(request)
    size = len(sock.recv(1 << 16))
    time.sleep(0.05)
    before = _cpu(worker)
    for _ in range(COUNT):
        sock.sendall(request)
        left = size
        while left > 0:
            left -= len(sock.recv(left))
    return (_cpu(worker) - before) / COUNT, size


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process so far, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    codings()
    server()
    server("--compress")
