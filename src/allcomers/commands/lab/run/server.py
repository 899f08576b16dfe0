"""A server for one trial: `allcomers run` or `serve` as a user starts it, on a free port of this machine."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.run.child_process import ChildProcess, wait_until

PATIENCE: Final = 60.0
"""Seconds for an app to load."""

DRAIN: Final = 2
"""Seconds of --graceful-timeout: the server under test has no client that would wait longer."""

_LISTENING: Final = re.compile(r"Listening at: (\w+)://(\S+?:\d+) ")


class ServerFailedError(Exception):
    """A server did not start, or died: the reason, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The app and the resources of its server.

    words    arguments of `allcomers`: "run", the target and the user's own options; without those that the lab chooses
    cores    cores that the server may use; all if empty
    folder   folder for its output
    """

    words: tuple[str, ...]
    cores: frozenset[int]
    folder: Path


@dataclass(slots=True)
class Server:
    """A server that listens at `address` (HOST:PORT), with `scheme`; it needed `start` seconds to."""

    child: ChildProcess
    scheme: str
    address: str
    start: float

    @property
    def pid(self) -> int:
        return self.child.pid

    def check(self) -> None:
        """Raises ServerFailedError if the server has died."""
        if self.child.status is not None:
            raise ServerFailedError(_last_words(self.child))


@contextmanager
def running_server(settings: ServerSettings, candidate: Candidate | None) -> Iterator[Server]:
    """Run a server from when it listens to the end of the block; without a candidate, with its defaults.

    Raises ServerFailedError if it does not listen.
    """
    start = time.monotonic()
    child = ChildProcess(command(settings, candidate), cores=settings.cores, output=settings.folder / "server.log")
    try:
        wait_until(lambda: child.status is not None or bool(_LISTENING.search(child.output_tail())), PATIENCE)
        found = _LISTENING.search(child.output_tail())
        if child.status is not None or found is None:
            raise ServerFailedError(_last_words(child))
        yield Server(child, found[1], found[2], time.monotonic() - start)
    finally:
        child.end(DRAIN + 3)


def command(settings: ServerSettings, candidate: Candidate | None) -> list[str]:
    more: Sequence[str] = candidate.flags() if candidate else ()
    own = ("--bind", "127.0.0.1:0", "--graceful-timeout", str(DRAIN), "--access-log", "off")
    return [sys.executable, "-m", "allcomers", *settings.words, *own, *more]


def _last_words(child: ChildProcess) -> str:
    """Return how the server ended and the last line of its output."""
    status = child.status
    lines = [line.strip() for line in child.output_tail().splitlines() if line.strip()]
    last = (lines or ["no output"])[-1][:300]
    if status is None:
        return f"it did not listen after {PATIENCE:g} s: {last}"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"it ended with {how}: {last}"
