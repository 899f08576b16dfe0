"""The name of a process, as ps -o comm, top, pstree and pgrep show it: the supervisor's, a worker's, the admin's.

The kernel keeps 15 bytes (proc_pid_comm(5)). The command line stays as it is, and so does what finds it by that (pgrep
-f). PERF: 7 µs; the package setproctitle takes 1 ms to import.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

SUPERVISOR: Final = "allcomers"
WORKER: Final = "allcomers-work"
ADMIN: Final = "allcomers-admin"


def name_process(name: str) -> None:
    """Give this process, and programs that it forks, this name. Do nothing where the system has no such file."""
    with suppress(OSError):
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, name.encode())
        finally:
            os.close(fd)
