"""Makes one system call of a server fail, for test_faults.py: Python imports this file when it starts.

Which call, how many of its kind are to succeed before, and with which errno, stands in a small file that the test
writes while the server runs: all of its processes share it, mapped into memory. A call that is to fail is not made at
all. Calls are counted only while a fault is armed, and those of one kind only.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

KINDS = (
    *("none", "recv", "send", "accept", "sendfile", "open", "fork", "thread"),
    *("close", "write", "epoll_ctl", "getsockopt", "setsockopt", "fstat", "mmap", "eventfd", "pipe", "memory"),
)
"""Those that fail here are in Python; faults.c has the others."""

LAYOUT = struct.Struct("=iiiii")
"""kind (an index of KINDS), calls until it fails, errno, how often it failed, the worker whose calls count (0: all)."""


_STEPS = re.compile("/allcomers/(calls|connection|models/driver|system)/")


def _begin(path: Path) -> None:
    with path.open("r+b") as file:
        control = mmap.mmap(file.fileno(), LAYOUT.size)

    def check(kind: str) -> None:
        armed, left, number, fired, worker = LAYOUT.unpack(control)
        if armed == KINDS.index(kind) and worker in (0, os.getpid(), os.getppid()):
            if left > 1:
                control[:] = LAYOUT.pack(armed, left - 1, number, fired, worker)
            else:
                control[:] = LAYOUT.pack(0, 0, 0, fired + 1, worker)
                raise OSError(number, os.strerror(number))

    def before(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **keywords: Any) -> Any:
            check(kind)
            return call(*args, **keywords)

        return checked

    def start(thread: threading.Thread) -> None:
        try:
            check("thread")
        except OSError:
            raise RuntimeError("can't start new thread") from None
        started(thread)

    system: Any = os
    system.sendfile = before("sendfile", os.sendfile)
    system.open = before("open", os.open)
    system.fork = before("fork", os.fork)
    started = threading.Thread.start
    threads: Any = threading.Thread
    threads.start = start
    from allcomers.system import nonblocking  # late: it takes what it needs of the above

    loop: Any = nonblocking
    loop.accept = before("accept", nonblocking.accept)
    if "FAULTS_OF_MEMORY" in os.environ:
        _watch_functions(lambda: check("memory"))


def _watch_functions(check: Callable[[], object]) -> None:
    """Let MemoryError be raised where a function begins that may be a part of a peer's step.

    Not by malloc(3): then CPython leaves descriptors open, frames broken and threads waiting, each here and there.
    """
    monitoring = sys.monitoring

    def begun(code: CodeType, offset: int) -> object:
        if not _STEPS.search(code.co_filename):
            return monitoring.DISABLE
        try:
            check()
        except OSError:
            raise MemoryError from None
        return None

    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "faults")
    monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.PY_START, begun)
    monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.PY_START)


if "FAULTS" in os.environ:
    _begin(Path(os.environ["FAULTS"]))
