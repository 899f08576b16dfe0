"""--reload: a process that watches the app's files and reports each change to the supervisor.

It is a process of its own because watchfiles has threads, and the supervisor forks. It runs as the user of the workers,
because it imports what they import, and finds nothing in the current folder (-P), which is the app's. Its standard
input is a pipe without a writer: when the supervisor ends, the kernel sends SIGIO, which ends this process, too; it
ignores all other signals, which are for the supervisor.

It writes lines of ASCII: "changed NAME" for each batch of changes, with the first file's name; "told TEXT" for the log.
What was changed since the supervisor started, or since a batch after which it must watch anew, is found by the times of
the files: so no save is missed while it does not watch yet.

    python -m allcomers.server.supervisor.file_watcher JSON    (of the arguments of WatchedFiles, and `since`)
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from allcomers.errors import ConfigError
from allcomers.system.signals import blocked_signals, release

if TYPE_CHECKING:
    from allcomers.server.privileges import Account

_logger = logging.getLogger("allcomers.supervisor")

SUFFIXES: Final = (".py",)

_OF_THE_GROUP: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGTTIN, signal.SIGTTOU),
)
"""Signals that a terminal, timeout(1) or systemd sends to all processes of the server."""

SETTLED: Final = (50, 400)
"""Milliseconds without a change that end a batch; and the longest batch: an editor or a version control system writes
several files at once."""

LOOK: Final = 250
"""Milliseconds between two looks whether the folders are still there."""

COARSE: Final = 0.01
"""Seconds by which the time of a file may be behind the clock: the kernel takes that of its last tick."""


class FileWatcher:
    """The watcher, seen from the supervisor.

    folders  watched with all folders in them; () for the current one
    files    watched in addition, whatever their names
    account  the account to run as; None to stay as it is
    include  globs of further files in the folders; and files elsewhere
    exclude  globs of files and folders that are not watched

    Raises ConfigError if watchfiles is not installed, or a folder does not exist.
    """

    def __init__(
        self,
        folders: Sequence[str],
        files: Sequence[str],
        account: Account | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        import subprocess  # late: for development only

        if find_spec("watchfiles") is None:
            raise ConfigError("--reload needs watchfiles: pip install 'allcomers[reload]'")
        for folder in folders:
            if not Path(folder).is_dir():
                raise ConfigError(f"--reload-dir {folder}: there is no such folder")
        here = str(Path.cwd())
        plan = {
            "since": time.time(),
            "here": here,
            "folders": [os.path.abspath(folder) for folder in folders or ["."]],  # noqa: PTH100
            "files": [*files, *(name for name in include if Path(name).is_file())],
            "include": list(include),
            "exclude": list(exclude),
        }
        command = [sys.executable, "-P", "-m", "allcomers.server.supervisor.file_watcher", json.dumps(plan)]
        with blocked_signals():  # until it ignores them
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **(account.for_programs() if account else {})
            )
        assert self._process.stdout
        self._pipe = self._process.stdout.fileno()

    def fileno(self) -> int:
        """Return the descriptor that is readable when a file has changed; -1 once the watcher has ended."""
        return self._pipe

    def changed(self) -> str:
        """Return the names of changed files, or "". Log all else. Call only when fileno() is readable."""
        data = os.read(self._pipe, 65536)
        if not data:
            self._pipe = -1
            self._process.kill()  # it may have closed its output alone
            _logger.error("files are not watched any more: the watcher has ended")
            self._process.wait()
        lines = [line.partition(" ") for line in data.decode("ascii", "backslashreplace").split("\n")]
        names = [text for kind, _, text in lines if kind == "changed" and text and text.isprintable()]
        for kind, _, text in lines:
            if kind == "told" and text.isprintable():
                _logger.info("%s", text)
        return ", ".join(dict.fromkeys(names)) if len(names) < 4 else f"{names[0]} and others"

    @property
    def pids(self) -> list[int]:
        """Its process id, until reap() has found that it has ended."""
        return [self._process.pid] if self._process.returncode is None else []

    def reap(self) -> None:
        """Collect its exit status if it has ended."""
        self._process.poll()

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


def main(argument: str) -> None:
    """Watch until the supervisor ends."""
    _end_with_parent()
    given = json.loads(argument)
    since = given.pop("since")
    watched = WatchedFiles(**given)
    polling = _must_poll()
    while True:  # an editor may replace a file by a new one, which must be watched again
        watched.await_folders()
        try:
            since = _watch(watched, since, polling)
        except OSError:
            polling = polling or not watched.missing()  # for want of watches: inotify(7), max_user_watches


def _watch(watched: WatchedFiles, since: float, polling: bool) -> float:
    """Report changes until a file or a folder must be watched anew; return the time since when there may be others."""
    is_first = True
    before = since
    for changed in _polled(watched) if polling else _notified(watched):
        if is_first:
            is_first = False
            missed = watched.scan(since - COARSE)
            changed |= missed
            watched.tell("polling" if polling else "inotify" if sys.platform == "linux" else "the kernel")
        if changed:
            _say("changed", watched.note(changed))
        if watched.missing() or any(watched.is_extra(path) for path in changed):
            return before
        before = time.time()
    return before


def _notified(watched: WatchedFiles) -> Iterator[set[str]]:
    """Yield what the kernel tells to have changed, at least once a look."""
    from watchfiles import watch

    step, longest = SETTLED
    for batch in watch(
        *watched.folders, *watched.existing, watch_filter=watched.takes, step=step, debounce=longest,
        rust_timeout=LOOK, yield_on_timeout=True, force_polling=False, ignore_permission_denied=True,
    ):  # fmt: skip
        yield {path for _, path in batch}


def _polled(watched: WatchedFiles) -> Iterator[set[str]]:
    """Yield what has changed between two looks. watchfiles' own polling compares times in whole seconds, so it misses a
    save in the second of the last one."""
    step, longest = SETTLED
    before = watched.times()
    took = 0.0
    while True:
        time.sleep(max(LOOK / 1000, 4 * took))  # a look takes a fifth of a core at most
        changed: set[str] = set()
        for _ in range(longest // step):
            began = time.monotonic()
            now = watched.times()
            took = time.monotonic() - began
            if before == now:
                break
            changed |= {path for path, _ in before.items() ^ now.items()}
            before = now
            time.sleep(step / 1000)
        yield changed


def _say(kind: str, text: str) -> None:
    sys.stdout.write(f"{kind} {ascii(text)[1:-1]}\n")
    sys.stdout.flush()


def _must_poll() -> bool:
    """Return whether no changes are reported: on Windows' files in WSL, or as WATCHFILES_FORCE_POLLING has it."""
    asked = os.environ.get("WATCHFILES_FORCE_POLLING", "")
    return asked.lower() not in ("false", "disable", "disabled") if asked else "microsoft" in platform.release()


class WatchedFiles:
    """The files that are watched: the .py files and those of `include` in `folders`, but for those of `exclude`, and
    `files`. `here` is the folder in which the server was started, from which names are told.

    folders   absolute
    existing  those of `files` that exist
    """

    def __init__(
        self, here: str, folders: Sequence[str], files: Sequence[str], include: Sequence[str], exclude: Sequence[str]
    ) -> None:
        from watchfiles import Change, DefaultFilter

        self.folders = folders
        self._here = here
        self._extra = {os.path.realpath(os.path.join(here, name)): name for name in files}  # noqa: PTH118
        self._include, self._exclude = _globs(include), _globs(exclude)
        self._ignored = DefaultFilter.ignore_dirs
        self._default, self._change = DefaultFilter(), Change.modified
        self._known: dict[str, int] = {}  # when a file that was reported had changed, st_ctime_ns
        self._identities: list[Any] = []
        self._told = ""
        self._count = 0

    @property
    def existing(self) -> list[str]:
        return [path for path in self._extra if Path(path).exists()]

    def is_extra(self, path: str) -> bool:
        return os.path.realpath(path) in self._extra

    def takes(self, change: object, path: str) -> bool:
        """Return whether a change of `path` counts."""
        return self.is_extra(path) or any(
            self._is_wanted(path.removeprefix(f"{folder}{os.sep}"), path)
            for folder in self.folders
            if path.startswith(f"{folder}{os.sep}")
        )

    def _is_wanted(self, relative: str, path: str) -> bool:
        if not self._default(self._change, relative) or _matches(relative, path, self._exclude):
            return False
        return relative.endswith(SUFFIXES) or _matches(relative, path, self._include)

    def times(self) -> dict[str, int]:
        """Count the files; return when each has changed, in nanoseconds since the epoch."""
        wanted = set(self._walk()).difference(self.existing)
        self._count = len(wanted)
        return {path: _changed(path) for path in wanted.union(self.existing)}

    def scan(self, since: float) -> set[str]:
        """Return the files that have changed since a time, but for those that are known."""
        return {path for path, at in self.times().items() if at >= since * 1e9 and at != self._known.get(path)}

    def _walk(self) -> Iterator[str]:
        for top in self.folders:
            for folder, inner, names in os.walk(top):
                below = folder.removeprefix(top).lstrip(os.sep)
                inner[:] = [
                    name
                    for name in inner
                    if name not in self._ignored
                    and not _matches(os.path.join(below, name), os.path.join(folder, name), self._exclude)  # noqa: PTH118
                ]
                for name in names:
                    path = os.path.join(folder, name)  # noqa: PTH118
                    if self._is_wanted(os.path.join(below, name), path):  # noqa: PTH118
                        yield path

    def note(self, changed: set[str]) -> str:
        """Note when these files have changed; return the name of the first."""
        self._known.update((path, _changed(path)) for path in changed)
        path = min(changed)
        return self._extra.get(os.path.realpath(path)) or os.path.relpath(path, self._here)

    def missing(self) -> str:
        """Return the first folder that is gone, or another one by now; "" if none is."""
        now = [_identity(folder) for folder in self.folders]
        return next(
            (folder for folder, at, then in zip(self.folders, now, self._identities, strict=True) if at != then), ""
        )

    def await_folders(self) -> None:
        """Wait until all folders are there."""
        while None in (now := [_identity(folder) for folder in self.folders]):
            folder = self.folders[now.index(None)]
            if self._told != folder:
                self._told = folder
                _say("told", f"--reload: {folder} is gone; it is watched again when it is there")
            time.sleep(LOOK / 1000)
        self._identities = now

    def tell(self, how: str) -> None:
        """Tell what is watched, unless that was told last."""
        if self._told != how:
            self._told = how
            files = "1 file" if self._count == 1 else f"{self._count} files"
            others = "".join(f", {self._extra[path]}" for path in self.existing)
            _say("told", f"--reload: watching {files} in {', '.join(self.folders)}{others}, by {how}")


def _globs(texts: Sequence[str]) -> list[str]:
    return [text.removeprefix("./").removeprefix("**/").rstrip("/") for text in texts]


def _matches(relative: str, path: str, globs: Sequence[str]) -> bool:
    """Return whether one of `globs` is for a file, or for a folder on the way to it: for its name, for its path from
    the watched folder, or for its absolute path."""
    parts = Path(relative).parts
    ways = [*parts, *(str(Path(*parts[:length])) for length in range(2, len(parts) + 1))] if globs else []
    absolute = [path, *map(str, Path(path).parents)] if globs else []
    return any(fnmatchcase(way, glob) for glob in globs for way in (absolute if glob.startswith(os.sep) else ways))


def _changed(path: str) -> int:
    """Return when a file or its name was changed, in nanoseconds since the epoch; 0 if it is gone."""
    try:
        return Path(path).stat().st_ctime_ns
    except OSError:
        return 0


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = Path(folder).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _end_with_parent() -> None:
    for signum in _OF_THE_GROUP:
        signal.signal(signum, signal.SIG_IGN)
    release()
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it has ended already
        raise SystemExit


if __name__ == "__main__":
    main(sys.argv[1])
