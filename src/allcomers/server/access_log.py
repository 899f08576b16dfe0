"""The access log: one line for each response, in a file that many threads and processes share.

This module writes lines to the file. `config.log_format` makes the line of a response; the caller of `log` decides when
a response counts as sent, and reads the clocks.

A line is one write(2) on a descriptor opened with O_APPEND. On a local file that keeps lines whole and apart whoever
else writes there: the kernel holds the file's lock from finding its end to the last byte. Two limits: NFS has no such
append (open(2), O_APPEND), and a pipe keeps lines apart up to PIPE_BUF, 4096 bytes on Linux (pipe(7)). A pipe or
terminal that nobody reads blocks the writer, as in any server that logs to standard output: without a trusted reader,
use a file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

from allcomers.config import log_format
from allcomers.connection.http.log_record import LogSlots, line_maker
from allcomers.errors import ConfigError
from allcomers.server.logs import colours

MODE: Final = 0o640
"""Mode of a new log file, less the umask: clients' addresses are not for everybody (Debian's logrotate: 0640)."""

STANDARD: Final = {
    "-": 1, "/dev/stdout": 1, "/dev/fd/1": 1, "/proc/self/fd/1": 1,
    "/dev/stderr": 2, "/dev/fd/2": 2, "/proc/self/fd/2": 2,
}  # fmt: skip
"""Paths that are descriptors of this process. Opening them needs rights that --user may not have, and fails for the
sockets that systemd passes."""


class AccessLog(LogSlots):
    """A log file, or standard output for "-" (precedent: gunicorn), open from the start until `close`.

    fmt    "combined", "common", "json", "short", or text with fields: see log_format; "" is "short" on a terminal, with
           colours, else "combined"
    fd     the file, if it is open already: the log owns it from here on
    warn   called with one line of text when the log cannot be written or reopened: at the first failure, and again only
           after a reopening; by default the line goes to standard error

    `log` and `reopen` may run in any thread at any time, and after a fork. Neither raises OSError: a full disk costs
    lines, which `dropped` counts, never a request.

    Raises ConfigError if the file cannot be opened or the format is unknown.
    """

    def __init__(self, path: str, fmt: str = "", *, fd: int = -1, warn: Callable[[str], object] | None = None) -> None:
        self.path = path
        self.dropped = 0
        """Lines that could not be written in full; an estimate if threads fail at the same moment."""
        self._warn = warn or _warn_on_stderr
        self._warned = False
        self._cut = False  # the last line was written in part
        try:
            self._fd = fd if fd >= 0 else STANDARD.get(path) or _open(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ConfigError(f"access log: cannot open {path!r}: {_reason(error)}") from None
        fmt = fmt or ("short" if os.isatty(self._fd) else "combined")
        try:
            found = log_format.read(fmt, coloured=colours.wanted(self._fd))
        except ConfigError as error:
            self.close()
            raise ConfigError(f"--access-log-format: {error}") from None
        self._line, self._clock, self.timed = line_maker(found), found.clock, found.timed
        self._second = (0, self._clock(0))

    def log(self, entry: log_format.Entry) -> None:
        """Write the line of one response."""
        second, stamp = self._second  # one tuple, so that a thread never mixes two of them
        if second != int(entry.when):
            stamp = self._clock(entry.when)
            self._second = (int(entry.when), stamp)
        entry.stamp = stamp
        data = self._line(entry)
        self.write(b"\n" + data if self._cut else data)

    def write(self, data: bytes, count: int = 0) -> None:
        """Write a line, of which `count` bytes are written."""
        try:
            if not count:
                count = os.write(self._fd, data)
            if count < len(data):  # the disk is almost full, or a pipe does not block: the second write raises
                count += os.write(self._fd, data[count:])
        except OSError as error:
            self.dropped += 1
            self._fail("write", error)
        if count:
            self._cut = count < len(data)

    def reopen(self, fd: int = -1) -> None:
        """Open the path again, after a rotation has renamed the file, or go on with `fd`, which is open already. Keep
        the old file if that fails; do nothing for a path in STANDARD."""
        if self.path in STANDARD:
            return
        self._warned = False
        try:
            fresh = fd if fd >= 0 else _open(self.path)
            # dup2 replaces the file behind the descriptor in one step. If the old one were closed first, another thread
            # could write its line to the next file with that number: a client's socket.
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)
        except OSError as error:
            self._fail("reopen", error)

    def close(self) -> None:
        """Close the file; drop later lines. Do not call it while other threads may log."""
        fd, self._fd = self._fd, -1
        if fd > 2:
            os.close(fd)

    def _fail(self, verb: str, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"access log: cannot {verb} {self.path!r}: {_reason(error)}; this is logged once")


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC, MODE)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _warn_on_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
