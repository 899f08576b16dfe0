"""The PID file, which has the supervisor's process id.

It appears once the server listens, complete from the first moment (rename(2)), and is removed with the server. The file
of a dead process is overwritten; that of a living one is not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from allcomers.errors import OperatorError


class PidFile:
    """A PID file at `path`, which may be relative to the current folder. It is not created before write()."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def claim(self, predecessor: int = 0) -> None:
        """Check that no process owns the file but `predecessor`, which will give it up. Raises OperatorError."""
        try:
            pid = self._owner()
            if pid not in (0, os.getpid(), predecessor) and _lives(pid):
                raise OperatorError(
                    f"--pid {self._path}: process {pid} is running; if it is not your server, remove the file"
                )
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise OperatorError(f"--pid {self._path}: {self._path.parent} is not writable")
        except OSError as error:
            raise OperatorError(f"--pid {self._path}: {error.strerror}") from None

    def write(self) -> None:
        """Write the process id. Raises OperatorError."""
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh.write_text(f"{os.getpid()}\n", "ascii")
            fresh.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise OperatorError(f"--pid {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """Remove the file if this process still owns it."""
        with suppress(OSError):
            if self._owner() == os.getpid():
                self._path.unlink()

    def _owner(self) -> int:
        """Return the process id in the file; 0 for none."""
        try:
            text = self._path.read_bytes()[:32].strip()
        except FileNotFoundError:
            return 0
        return int(text) if text.isdigit() else 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True
