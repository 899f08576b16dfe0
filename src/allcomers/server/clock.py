"""The Date field, formatted once a second, or none."""

from __future__ import annotations

import math
import time

from allcomers.protocol.dates import http_date


class DateLine:
    """A call with `now` of the monotonic clock returns the field's line with its CRLF (RFC 9110, 6.6.1).

    until  when the line changes
    """

    def __init__(self) -> None:
        self._line = b""
        self.until = 0.0

    def __call__(self, now: float) -> bytes:
        if now >= self.until:
            wall = time.time()
            self._line = b"Date: %b\r\n" % http_date(int(wall)).encode("ascii")
            self.until = now + 1.0 - wall % 1.0
        return self._line


class NoDateLine:
    """The same for a server that sends no Date field (--no-date-header)."""

    until = math.inf

    def __call__(self, now: float) -> bytes:
        return b""
