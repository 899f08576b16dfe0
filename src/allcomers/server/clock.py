"""The Date field, made once a second."""

from __future__ import annotations

import time

from allcomers.protocol.dates import http_date


class DateLine:
    """Called with `now` of the monotonic clock: the field's line with its CRLF (RFC 9110, 6.6.1)."""

    def __init__(self) -> None:
        self._line = b""
        self.until = 0.0  # it is made anew from then on

    def __call__(self, now: float) -> bytes:
        if now >= self.until:
            wall = time.time()
            self._line = b"Date: %b\r\n" % http_date(int(wall)).encode("ascii")
            self.until = now + 1.0 - wall % 1.0
        return self._line
