"""Recently requested files, with their responses: most of the cost of a small one is to find and to open it.

A response is used again if the file under its path is still the same: a request after a change gets the new file. So
each request costs a stat(2), but for one that was there already at the last stat() for another: of the peers that a
poller reports together, only the first costs one. Coded files beside the file are searched for again after a second.
Of a larger file the fields alone are kept, and it is opened for each request.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Final, TypeAlias

from allcomers.protocol.message import Request, Response

MOST: Final = 512
"""Responses that are kept, of files of up to message.SMALL bytes: 8 MiB at most. A full cache is emptied."""

LONGEST_PATH: Final = 256

FRESH: Final = 1.0
"""Seconds until the next search for coded files."""

FileId: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in nanoseconds: another file, or other content of the same, has another one."""


def file_id(found: os.stat_result) -> FileId:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _CachedResponse:
    __slots__ = ("body", "checked", "fields", "file_id", "path", "until")

    def __init__(self, path: bytes, file_id: FileId, body: bytes | None, fields: list[tuple[str, str]]) -> None:
        self.path = path
        self.file_id = file_id
        self.body = body
        self.fields = fields
        self.checked = 0.0  # a time before the last stat() of the file
        self.until = monotonic() + FRESH


def _is_current(cached: _CachedResponse) -> bool:
    """Return True if the file is still the same, and the search for coded ones recent."""
    now = monotonic()
    try:
        found = os.stat(cached.path)  # noqa: PTH116 - making a Path costs more than the call
    except OSError:
        return False
    if file_id(found) != cached.file_id or now > cached.until:
        return False
    cached.checked = now
    return True


class FileCache:
    """The cache of one site. Any number of threads may use it at once.

    conditions  names of fields, in lower case, that change a response
    """

    __slots__ = ("_conditions", "_plain", "_responses")

    def __init__(self, conditions: frozenset[str]) -> None:
        self._conditions = conditions
        self._responses: dict[str, _CachedResponse] = {}
        self._plain: dict[bytes, bool] = {}  # field lines: True if they have none of `conditions`

    def find(self, request: Request) -> Response | None:
        """Return the response to an earlier request like this, if the file is small and the same."""
        cached = self._responses.get(request.path)
        if cached is None or cached.body is None or not self.is_plain(request):
            return None
        # PERF: a third of the CPU of a small file (python -m bench comparison --workloads file-1k).
        if not 0.0 < request.ready_at <= cached.checked and not _is_current(cached):
            self._responses.pop(request.path, None)
            return None
        return Response.short(cached.body, cached.fields)

    def fields(self, request: Request, file_id: FileId) -> list[tuple[str, str]] | None:
        """Return the fields of the response to an earlier request like this, if `file_id` is still the same."""
        cached = self._responses.get(request.path)
        if cached is None or cached.file_id != file_id or monotonic() > cached.until or not self.is_plain(request):
            return None
        return cached.fields

    def keep(self, request: Request, path: bytes, file_id: FileId, response: Response) -> None:
        """Keep `response`, the whole file at `path`, for further requests like `request`."""
        if len(request.path) <= LONGEST_PATH and self.is_plain(request):
            if len(self._responses) >= MOST:
                self._responses.clear()
            body = response.body if isinstance(response.body, bytes) else None
            # A copy: a handler around this one may add fields to the response, which are for its client alone.
            self._responses[request.path] = _CachedResponse(path, file_id, body, response.headers[:])

    def is_plain(self, request: Request) -> bool:
        """Return True for a GET of the whole file without conditions."""
        if request.method != "GET":
            return False
        lines = request.lines
        if lines is None:
            return self._conditions.isdisjoint(request.headers)
        plain = self._plain.get(lines)
        if plain is None:
            plain = self._conditions.isdisjoint(request.headers)
            if len(self._plain) >= MOST:
                self._plain.clear()
            self._plain[lines] = plain
        return plain
