"""The circumstances of a measurement, without which its figures mean nothing; reports and their JSON have them."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import allcomers

_TICKS: Final = os.sysconf("SC_CLK_TCK")

_SECRET: Final = re.compile(
    r"(?i)((?:authorization|cookie|token|api-key|secret|password)\s*[:=]).*|(?<=://)[^/@]*(?=@)"
)
"""A field with a credential, the user's part of an URL."""


def facts() -> dict[str, Any]:
    """Return host, CPU, number of cores, system, versions and time."""
    from allcomers.protocol.compiled import KIND

    return {
        "allcomers": allcomers.__version__,
        "leaf": KIND,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def described(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts() as (name, value), for a page; a name without a value is not shown."""
    return [
        ("date", found.get("when", "")),
        ("host", found.get("host", "")),
        ("CPU", f"{found['cpu']}, {found['cores']} cores" if "cores" in found else found.get("cpu", "")),
        ("system", found.get("system", "")),
        ("versions", f"Python {found['python']}, allcomers {found['allcomers']} ({found['leaf']})"),
    ]


def command_line(command: str, arguments: Sequence[str]) -> str:
    """Return a command as a shell takes it, without the credentials in it: reports are shown around."""
    hidden = [_SECRET.sub(lambda found: f"{found[1] or ''}…", word) for word in arguments]
    return shlex.join(["allcomers", command, *hidden])


class Meanwhile:
    """The cores in use from its creation on, by all processes and by this one's children that have ended."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), busy(), _children()

    def place(self, command: str) -> dict[str, Any]:
        """Return facts(), the command, and the cores in use: `busy` in all, `load` of them by the children."""
        took = max(time.monotonic() - self._began, 1e-3)
        used = {"busy": (busy() - self._busy) / took, "load": (_children() - self._own) / took}
        return {**facts(), "command": command, **{name: round(value, 3) for name, value in used.items()}}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy() -> float:
    """Return the seconds that all cores have worked for any process (proc_stat(5)); 0.0 if it cannot be known."""
    with suppress(OSError, ValueError):
        times = list(map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]))
        return (sum(times) - times[3] - times[4]) / _TICKS  # except idle and iowait
    return 0.0


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
