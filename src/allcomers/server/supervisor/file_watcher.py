"""--reload: a process that watches the app's files and reports each change to the supervisor.

It is a process of its own because watchfiles has threads, and the supervisor forks. It writes a line for each batch of
changes: the first file's name, in ASCII. Its standard input is a pipe without a writer: when the supervisor ends, the
kernel sends SIGIO, which ends this process, too.

    python -m allcomers.server.supervisor.file_watcher FILE… -- FOLDER…
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from allcomers.errors import ConfigError

_logger = logging.getLogger("allcomers.supervisor")

SUFFIXES: Final = (".py",)

SETTLED: Final = (50, 400)
"""Milliseconds without a change that end a batch; and the longest batch: an editor or a version control system writes
several files at once."""


class FileWatcher:
    """The watcher, seen from the supervisor.

    folders  watched with all folders in them; () for the current one
    files    watched in addition, whatever their names

    Raises ConfigError if watchfiles is not installed, or a folder does not exist.
    """

    def __init__(self, folders: Sequence[str], files: Sequence[str]) -> None:
        import subprocess  # late: for development only

        if find_spec("watchfiles") is None:
            raise ConfigError("--reload needs watchfiles: pip install 'allcomers[reload]'")
        for folder in folders:
            if not Path(folder).is_dir():
                raise ConfigError(f"--reload-dir {folder}: there is no such folder")
        command = [sys.executable, "-m", "allcomers.server.supervisor.file_watcher", *files, "--", *(folders or ["."])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self._pipe = self._process.stdout.fileno()

    def fileno(self) -> int:
        """Return the descriptor that is readable when a file has changed; -1 once the watcher has ended."""
        return self._pipe

    def changed(self) -> str:
        """Return the names of changed files; "" if the watcher has ended. Call only when fileno() is readable."""
        data = os.read(self._pipe, 65536)
        if not data:
            self._pipe = -1
            _logger.error("files are not watched any more: the watcher ended with status %d", self._process.wait())
        names = data.decode("ascii").split("\n")[:-1]
        return ", ".join(dict.fromkeys(names)) if len(names) < 4 else f"{names[0]} and others"

    def close(self) -> None:
        """End the watcher."""
        self._process.kill()
        self._process.communicate()
        self._pipe = -1

    def close_here(self) -> None:
        """Close the pipes in a forked process, which does not own them."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()


def main(arguments: list[str]) -> None:
    """Watch until the supervisor ends."""
    _end_with_parent()
    place = arguments.index("--")
    files, folders = arguments[:place], arguments[place + 1 :]
    while True:  # an editor may replace a file by a new one, which must be watched again
        for name in _changes(files, folders):
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            if name in files:
                break


def _changes(files: Sequence[str], folders: Sequence[str]) -> Iterator[str]:
    """Yield the name of the first changed file of each batch."""
    from watchfiles import Change, DefaultFilter, watch

    ignored = DefaultFilter()
    extra = {os.path.realpath(name): name for name in files}

    def is_wanted(change: Change, path: str) -> bool:
        return os.path.realpath(path) in extra or (path.endswith(SUFFIXES) and ignored(change, path))

    step, longest = SETTLED
    existing = [name for name in files if Path(name).exists()]
    for batch in watch(
        *folders, *existing, watch_filter=is_wanted, step=step, debounce=longest, ignore_permission_denied=True
    ):
        path = min(path for _, path in batch)
        yield extra.get(os.path.realpath(path)) or ascii(os.path.relpath(path))[1:-1]


def _end_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to all processes of a terminal; show no traceback
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


if __name__ == "__main__":
    main(sys.argv[1:])
