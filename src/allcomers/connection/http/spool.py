"""The part of a response that its client is too slow for: in a temporary file, while the call goes on or is over.

An app that writes faster than its client reads would keep its thread until the client has read. So what is beyond the
memory for one response goes to disk, and is sent from there (nginx's proxy_max_temp_file_size is the precedent).
"""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from allcomers.connection.http.response_body import EndOfBody, StreamingBody
from allcomers.protocol.body import Body
from allcomers.protocol.message import Response

SPOOL_MOST: Final = 64 * 1024 * 1024
"""Bytes of one response in its file; --max-body has the same default for a request. Then its app waits."""

SLICE: Final = 64 * 1024
"""Bytes that go from the file to the connection at once."""


class Spool:
    """A ring of bytes in a temporary file, written at one end and read at the other; by one thread each.

    Read, and not sent with sendfile(2): that leaves the file's own pages in the socket, and a write to them changes
    what the client gets.
    """

    __slots__ = ("_body", "_most", "_taken", "_written")

    def __init__(self, most: int = SPOOL_MOST) -> None:
        self._body = Body()
        self._most = most
        self._written = self._taken = 0  # bytes so far

    @property
    def pending(self) -> int:
        """The bytes that take() has not returned."""
        return self._written - self._taken

    @property
    def room(self) -> int:
        """The bytes that append() takes now."""
        return self._most - self.pending

    def append(self, data: memoryview) -> None:
        """Write `data`, of at most `room` bytes. Raises OSError."""
        while data:
            offset = self._written % self._most
            piece = data[: self._most - offset]
            self._body.overwrite(offset, piece)
            self._written += len(piece)
            data = data[len(piece) :]

    def take(self) -> bytes:
        """Return the next bytes to send; b"" for none. Raises OSError."""
        if not self.pending:
            return b""
        offset = self._taken % self._most
        data = os.pread(self._body.file.fileno(), min(SLICE, self.pending, self._most - offset), offset)
        if not data:
            raise OSError(errno.EIO, "a temporary file has become shorter")
        self._taken += len(data)
        return data

    def close(self) -> None:
        self._body.close()


class SpooledBody(StreamingBody):
    """The rest of a response whose call is over: all that is in its spool, then `end`."""

    __slots__ = ("_end", "_spool")

    def __init__(self, response: Response, spool: Spool, end: EndOfBody) -> None:
        super().__init__(response)
        self._spool = spool
        self._end = end

    def step(self) -> Any:
        try:
            if data := self._spool.take():
                return data
        except OSError:  # of the disk: the response is visibly cut
            self._end = EndOfBody.ABORTED
        self.close()
        return self._end

    def close(self) -> None:
        self._spool.close()
