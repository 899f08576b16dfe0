"""Makes one system call of a server fail, for test_faults.py: Python imports this file when it starts.

Which call, how many of its kind are to succeed before, and with which errno, stands in a small file that the test
writes while the server runs: all of its processes share it, mapped into memory. A call that is to fail is not made at
all. Calls are counted only while a fault is armed, and those of one kind only.
"""

from __future__ import annotations

import mmap
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("none", "recv", "send", "accept", "sendfile", "open", "fork", "thread")
LAYOUT = struct.Struct("=iiii")
"""kind (an index of KINDS), calls until it fails, errno, how often it failed."""


def _begin(path: Path) -> None:
    with path.open("r+b") as file:
        control = mmap.mmap(file.fileno(), LAYOUT.size)

    def check(kind: str) -> None:
        armed, left, number, fired = LAYOUT.unpack(control)
        if armed == KINDS.index(kind):
            if left > 1:
                control[:] = LAYOUT.pack(armed, left - 1, number, fired)
            else:
                control[:] = LAYOUT.pack(0, 0, 0, fired + 1)
                raise OSError(number, os.strerror(number))

    def before(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **keywords: Any) -> Any:
            check(kind)
            return call(*args, **keywords)

        return checked

    def before_peers(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(sock: socket.socket, *args: Any) -> Any:
            if sock.family == socket.AF_INET:  # not those that a process has to itself
                check(kind)
            return call(sock, *args)

        return checked

    def before_descriptors(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(fd: int, *args: Any) -> Any:
            if _is_peers(fd):
                check(kind)
            return call(fd, *args)

        return checked

    def start(thread: threading.Thread) -> None:
        try:
            check("thread")
        except OSError:
            raise RuntimeError("can't start new thread") from None
        started(thread)

    changed: Any = socket.socket
    system: Any = os
    if "faults" not in os.environ.get("LD_PRELOAD", ""):  # there faults.c is told of these two
        changed.recv = before_peers("recv", socket.socket.recv)
        changed.send = before_peers("send", socket.socket.send)
        system.read = before_descriptors("recv", os.read)  # loops in plain Python: models/quick.py
        system.write = before_descriptors("send", os.write)
    changed.accept = before_peers("accept", socket.socket.accept)
    system.sendfile = before("sendfile", os.sendfile)
    system.open = before("open", os.open)
    system.fork = before("fork", os.fork)
    started = threading.Thread.start
    threads: Any = threading.Thread
    threads.start = start


def _is_peers(fd: int) -> bool:
    """Is it the socket of a peer?"""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    sock = socket.socket(fileno=fd)
    try:
        return sock.family == socket.AF_INET
    finally:
        sock.detach()


if "FAULTS" in os.environ:
    _begin(Path(os.environ["FAULTS"]))
