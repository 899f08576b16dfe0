"""loadtest(): a load from a Python program, in processes of its own.

run() forks, which a program with threads cannot do safely; this starts `allcomers load`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from allcomers.commands.load.data.result import Result
from allcomers.errors import ConfigError, OperatorError


def loadtest(url: str, clients: int = 10, duration: float = 10.0, **options: Any) -> Result:
    """Load `url` with so many clients for so many seconds; return the result.

    options  those of `allcomers load`, by name, with _ for -: rate=500, keep_alive=False, header=["A: b", "C: d"]

    Raises ConfigError for a bad option, OperatorError where nothing came of it.
    """
    command = [sys.executable, "-m", "allcomers", "load", url, "--quiet", "--json", "-"]
    for name, value in {"clients": clients, "duration": duration, **options}.items():
        command += _words(f"--{name.replace('_', '-')}", value)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise ConfigError(done.stderr.strip().removeprefix("allcomers: "))
    if not done.stdout:
        raise OperatorError(done.stderr.strip().removeprefix("allcomers: ") or f"it ended with {done.returncode}")
    return Result.from_json(done.stdout)


def _words(flag: str, value: Any) -> list[str]:
    """Return an option as the command line has it."""
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [word for item in value for word in (flag, str(item))]
    return [flag, str(value)]
