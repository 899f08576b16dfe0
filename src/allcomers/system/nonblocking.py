"""recv(2) and send(2) for a loop, whose sockets do not block: (fd, size) to bytes, and (fd, bytes) to a count.

PERF: the socket's own methods give up the GIL for each call, in case it waits. Here none waits, and when threads of a
pool want the interpreter, giving it up means queueing for it again. Compiled, they keep it. A read is 64 KiB at most.

Both raise OSError: BlockingIOError for a call that would wait.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from allcomers.protocol import compiled

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.system._nonblocking import recv, send
else:
    recv, send = os.read, os.write
