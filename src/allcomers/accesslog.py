"""The access log: one line for each answer, in a format that log readers know.

This file knows how an answered request looks as a line, and how lines reach a file that many threads and processes
share. When an answer counts as sent, and what the clocks say, is known by who calls `log`.

A line is one write(2) on a descriptor opened with O_APPEND. On a local file that keeps lines whole and apart whoever
else writes there: the kernel holds the file's lock from finding its end to the last byte. Two limits: NFS has no such
append (open(2), O_APPEND), and a pipe keeps lines apart up to PIPE_BUF, 4096 bytes on Linux (pipe(7)). A pipe or
terminal that nobody reads blocks who writes, as in any server that logs to standard output: who cannot trust the reader
takes a file.

Whatever a client sent is escaped, so that it cannot end a line, forge a field or move the cursor of who reads the file
(CVE-2020-7694 in uvicorn): a line is printable ASCII and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TypeAlias

from allcomers.errors import ConfigError

FORMATS = ("combined", "common", "json")

MODE = 0o640
"""Of a log file that we create, less the umask: clients' addresses are not for everybody (Debian's logrotate: 0640)."""

# Not strftime's %b: its names change with the locale that an app may set.
MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Entry: TypeAlias = tuple[str, tuple[str, ...], int, int, float, str, str, str]
"""(peer, request, status, sent, seconds, host, referer, agent).

`request` is (method, target, version), or one str where it was refused: " ".join gives the request line of both.
"""


class AccessLog:
    """A log file, or standard output for "-" (precedent: gunicorn), open from the start until `close`.

    fmt    "combined", "common" (https://httpd.apache.org/docs/2.4/logs.html#accesslog) or "json", one object a line
    tell   called with one line of text when the log cannot be written or reopened: at the first failure, and again only
           after a reopening; by default the line goes to standard error

    `log`, `refused` and `reopen` may run in any thread at any time, and after a fork. None of them raises OSError: a
    full disk costs lines, which `dropped` counts, never a request.

    Raises ConfigError when the file cannot be opened or the format is unknown.
    """

    def __init__(self, path: str, fmt: str = "combined", *, tell: Callable[[str], object] | None = None) -> None:
        if fmt not in FORMATS:
            raise ConfigError(f"access log format {fmt!r}: choose one of {', '.join(FORMATS)}")
        self.path = path
        self.dropped = 0
        """Lines that could not be written in full; about right where threads fail at the same moment."""
        self._tell = tell or _tell_stderr
        self._told = False
        self._cut = False  # our last line stopped in the middle
        self._line = _json_line() if fmt == "json" else _combined if fmt == "combined" else _common
        self._clock = _iso_time if fmt == "json" else _apache_time
        self._second = (0, self._clock(0))
        try:
            self._fd = 1 if path == "-" else _open(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ConfigError(f"access log: cannot open {path!r}: {_reason(error)}") from None

    def log(
        self,
        *,
        when: float,
        peer: str,
        method: str,
        target: str,
        version: str,
        status: int,
        sent: int,
        seconds: float,
        host: str = "",
        referer: str = "",
        agent: str = "",
    ) -> None:
        """Write the line of one answer.

        when      seconds since the epoch (time.time()) at which the request arrived
        peer      the client's address: "127.0.0.1"; "" on a Unix socket
        method, target, version    as in the request line: "GET", "/a?b=c", "HTTP/1.1"
        status    of the answer: 200
        sent      bytes of its body that were sent; 0 is "-" in Apache's formats (%b)
        seconds   from the request's first byte to the answer's last; only the JSON has it, and `host`
        host, referer, agent       fields of the request as str (Latin-1); "" is absent
        """
        request = (method, target, version)
        self._write(self._line(self._stamp(when), (peer, request, status, sent, seconds, host, referer, agent)))

    def refused(self, *, when: float, peer: str, line: bytes, status: int, sent: int, seconds: float) -> None:
        """Write the line of a request refused before it was understood: `line` is its raw first line, or b""."""
        request = (line.decode("latin-1"),)
        self._write(self._line(self._stamp(when), (peer, request, status, sent, seconds, "", "", "")))

    def reopen(self) -> None:
        """Open the path anew, once a rotation has renamed the file; nothing for "-". The old file stays if it fails."""
        if self.path == "-":
            return
        self._told = False
        try:
            fresh = _open(self.path)
            # dup2 changes what the number stands for in one step. Were the old one closed, another thread could write
            # its line into whatever takes that number next: a client's socket.
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)
        except OSError as error:
            self._fail("reopen", error)

    def close(self) -> None:
        """Close the file; a line that still comes is dropped. Not while other threads may log."""
        fd, self._fd = self._fd, -1
        if fd > 1:
            os.close(fd)

    def _stamp(self, when: float) -> str:
        second, text = self._second  # one tuple, so that a thread never reads the number of one and the text of another
        if second != int(when):
            text = self._clock(when)
            self._second = (int(when), text)
        return text

    def _write(self, line: str) -> None:
        data = line.encode("ascii")
        if self._cut:
            data = b"\n" + data
        count = 0
        try:
            count = os.write(self._fd, data)
            if count < len(data):  # the disk is all but full, or a pipe does not block: a second try tells
                count += os.write(self._fd, data[count:])
        except OSError as error:
            self.dropped += 1
            self._fail("write", error)
        if count:
            self._cut = count < len(data)

    def _fail(self, verb: str, error: OSError) -> None:
        if not self._told:
            self._told = True
            self._tell(f"access log: cannot {verb} {self.path!r}: {_reason(error)}; this is said once")


def escape(text: str) -> str:
    r"""`text` as printable ASCII that ends no field and no line, as Apache does it: \" \\ \n and its like, else \xhh.

    What no wire sends, a character beyond Latin-1, is \uhhhh.
    """
    return text.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """For str.translate; fills itself, up to 256 entries."""

    def __missing__(self, code: int) -> str:
        if code > 255:
            return f"\\u{code:04x}"
        self[code] = chr(code) if 32 <= code < 127 else f"\\x{code:02x}"
        return self[code]


_ESCAPES = _Escapes({ord(raw): f"\\{letter}" for raw, letter in zip('"\\\b\n\r\t\v', '"\\bnrtv', strict=True)})


# PERF: a line with a Chrome's User-Agent, less the write(2) itself, costs combined 2.4 to 2.9 µs, common 1.5, json 3.5
# to 4, and combined 5.7 to 6.7 where the User-Agent must be escaped: python bench/micro.py


def _common(stamp: str, entry: Entry) -> str:
    peer, request, status, sent, *_ = entry
    line = " ".join(request)
    if not _clean(line) or not _clean(peer):
        peer, line = escape(peer), escape(line)
    return f'{peer or "-"} - - [{stamp}] "{line or "-"}" {status} {sent or "-"}\n'


def _combined(stamp: str, entry: Entry) -> str:
    *_, referer, agent = entry
    if not _clean(referer) or not _clean(agent):
        referer, agent = escape(referer), escape(agent)
    return f'{_common(stamp, entry)[:-1]} "{referer or "-"}" "{agent or "-"}"\n'


def _clean(text: str) -> bool:
    """Whether `text` needs no escape; all four look faster than they read."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _json_line() -> Callable[[str, Entry], str]:
    import json

    # Of a str alone this is a call into C, 0.1 µs; json.dumps of the whole dict is 5 µs. Both escape all but printable
    # ASCII (ensure_ascii).
    quote = json.JSONEncoder().encode

    def line(stamp: str, entry: Entry) -> str:
        peer, request, status, sent, seconds, host, referer, agent = entry
        names = ("method", "target", "version") if len(request) == 3 else ("line",)
        asked = "".join([f'"{name}":{quote(value)},' for name, value in zip(names, request, strict=True)])
        return (
            f'{{"time":"{stamp}","peer":{quote(peer)},{asked}"status":{status},"bytes":{sent},"seconds":{seconds:.6f},'
            f'"host":{quote(host)},"referer":{quote(referer)},"user_agent":{quote(agent)}}}\n'
        )

    return line


def _apache_time(when: float) -> str:
    """10/Oct/2000:13:55:36 -0700, in this machine's time zone."""
    now = time.localtime(when)
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{now.tm_mday:02}/{MONTHS[now.tm_mon]}/{now.tm_year}:{clock} {_offset(now)}"


def _iso_time(when: float) -> str:
    """2000-10-10T13:55:36-07:00 (RFC 3339)."""
    now, offset = time.localtime(when), _offset(time.localtime(when))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', now)}{offset[:3]}:{offset[3:]}"


def _offset(now: time.struct_time) -> str:
    minutes = now.tm_gmtoff // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC, MODE)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _tell_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
