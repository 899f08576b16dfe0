"""accept(2), recv(2) and send(2) for a loop, whose sockets do not block, by descriptor.

accept       a listener to a peer's descriptor, which does not block, its host and its port, "" and 0 at a Unix socket;
             None where no peer waits
own_address  a peer's descriptor to the host and port that it connected to, where it has any
recv, send   (fd, size) to bytes, and (fd, bytes) to a count

PERF: a socket's own methods give up the GIL for each call, in case it waits. Here none waits, and when threads of a
pool want the interpreter, giving it up means queueing for it again. Compiled, they keep it. A read is 64 KiB at most.
Of a peer no socket is made, which looks up its own address and takes two further system calls.

All raise OSError: BlockingIOError for a recv or send that would wait.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from allcomers.protocol import compiled
from allcomers.system.native.primitives import Socket

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.system._nonblocking import accept, own_address, recv, send
else:
    recv, send = os.read, os.write

    def accept(listener: socket.socket) -> tuple[int, str, int] | None:
        try:
            fd, name = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return None
        try:
            os.set_blocking(fd, False)
            return fd, *_address(name)
        except BaseException:
            os.close(fd)
            raise

    def own_address(fd: int) -> tuple[str, int]:
        sock = Socket(fileno=fd)
        try:
            return _address(sock.getsockname())
        finally:
            sock.detach()

    def _address(name: Any) -> tuple[str, int]:
        return (_shared(name[0]), name[1]) if isinstance(name, tuple) else ("", 0)

    @lru_cache(1024)
    def _shared(host: str) -> str:
        """Return the same string for all connections of a peer; sys.intern() would keep each for ever (3.12)."""
        return host


def send_some(fd: int, data: bytes) -> int:
    """Return how many of these bytes the socket has taken; 0 for none, also after an error, which comes again."""
    try:
        return send(fd, data)
    except OSError:
        return 0
