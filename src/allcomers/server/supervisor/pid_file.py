"""The pid file: where others find the supervisor's process id.

It appears once the server listens, whole from the first moment (rename(2)), and goes with the server. One that a dead
process left behind is overwritten; one of a process that lives is not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from allcomers.errors import OperatorError


class PidFile:
    """`path` may be relative, to the folder that is the current one now. Nothing is there before write()."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def claim(self, predecessor: int = 0) -> None:
        """See that nobody else has it; `predecessor` is a process that will leave it to us. Raises OperatorError."""
        try:
            pid = self._owner()
            if pid not in (0, os.getpid(), predecessor) and _lives(pid):
                raise OperatorError(
                    f"--pid {self._path}: process {pid} is running; if it is no server of yours, remove the file"
                )
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise OperatorError(f"--pid {self._path}: nothing can be written in {self._path.parent}")
        except OSError as error:
            raise OperatorError(f"--pid {self._path}: {error.strerror}") from None

    def write(self) -> None:
        """Raises OperatorError."""
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh.write_text(f"{os.getpid()}\n", "ascii")
            fresh.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise OperatorError(f"--pid {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """Take it away, if it is ours still."""
        with suppress(OSError):
            if self._owner() == os.getpid():
                self._path.unlink()

    def _owner(self) -> int:
        """The process it names; 0 for none."""
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
    except PermissionError:  # somebody else's
        return True
    return True
