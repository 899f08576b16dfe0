"""Nothing is left over at a server's or a worker's end: no process, no thread cut short, no request, no address.

`python -m bench life` has the table. Each cell runs in a process of its own, the subreaper of all that it starts.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from bench.life.life import ENDS, MODELS

from support.harness import ROOT, chosen

SOME = [
    ("iterative", "term"),
    ("process", "requests"),
    ("thread", "hup"),
    ("thread-pool", "usr2"),
    ("select", "supervisor"),
    ("poll", "hang"),
    ("epoll", "term"),
    ("epoll-et", "memory"),
    ("epoll asgi", "worker"),
    ("asyncio", "int"),
    ("asyncio asgi", "hup"),
]
WHOLE = [(server, end) for server in (*MODELS, "epoll asgi", "asyncio asgi") for end in ENDS]


@pytest.mark.parametrize(("server", "end"), chosen(SOME, WHOLE))
def test_nothing_is_left_over(server: str, end: str) -> None:
    command = [sys.executable, "-m", "bench", "life", "--servers", server, "--ends", end, "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
