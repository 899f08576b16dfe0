"""The PID file, which has the supervisor's process id.

It appears once the server listens, complete from the first moment (rename(2)), and is removed with the server. The file
of a dead process is overwritten; that of a living one is not.

Its folder may be another user's, and the supervisor is often root: so no link is followed in it, neither to read nor to
write, and the file is created under a name that nobody can know before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from allcomers.errors import OperatorError

_PLAIN: Final = os.O_NOFOLLOW | os.O_CLOEXEC


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
        fresh = f".{self._path.name}.{os.urandom(8).hex()}"
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o644, dir_fd=folder)
                with os.fdopen(fd, "wb") as file:
                    file.write(b"%d\n" % os.getpid())
                os.replace(fresh, self._path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(fresh, dir_fd=folder)
                raise
            finally:
                os.close(folder)
        except OSError as error:
            raise OperatorError(f"--pid {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """Remove the file if this process still owns it."""
        with suppress(OSError):
            if self._owner() == os.getpid():
                self._path.unlink()

    def _owner(self) -> int:
        """Return the process id in the file; 0 for none. Raises OSError."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | _PLAIN)  # a FIFO has no process id, and blocks
        except FileNotFoundError:
            return 0
        try:
            text = os.read(fd, 32).strip()
        finally:
            os.close(fd)
        return int(text) if text.isdigit() else 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True
