"""Recently requested files, with their responses: most of the cost of a small one is to find and to open it.

A response is used again if the file under its path is still the same: a request after a change gets the new file. So
each request costs a stat(2), but for one that was there already at the last stat() for another: of the peers that a
poller reports together, only the first costs one. Coded files beside the file are searched for again after a second.
Of a larger file the fields alone are kept, and it is opened for each request. A request with the entity tag of such a
file is answered 304 from here, too.
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


VALIDATORS: Final = frozenset({"etag", "last-modified", "cache-control"})
"""Fields of a response that its 304 has, too (RFC 9110, section 15.4.5), in lower case."""


class _CachedResponse:
    __slots__ = ("body", "checked", "etag", "fields", "file_id", "not_modified", "path", "until")

    def __init__(self, path: bytes, file_id: FileId, response: Response) -> None:
        fields = response.headers[:]  # a handler around the Site may add fields, which are for its client alone
        self.path = path
        self.file_id = file_id
        self.body = response.body if isinstance(response.body, bytes) and response.status == 200 else None
        self.fields = fields if response.status == 200 else []
        self.not_modified = [field for field in fields if field[0].lower() in VALIDATORS]
        self.etag = next((value for name, value in fields if name == "ETag"), "")
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

    __slots__ = ("_conditions", "_responses", "_tags")

    def __init__(self, conditions: frozenset[str]) -> None:
        self._conditions = conditions
        self._responses: dict[str, _CachedResponse] = {}
        self._tags: dict[bytes, str | None] = {}  # results of _tag_of(), by field lines

    def find(self, request: Request) -> Response | None:
        """Return the response to an earlier request like this, if the file is small and the same; or a 304."""
        cached = self._responses.get(request.path)
        if cached is None:
            return None
        tag = self._tag(request)
        if tag is None or (tag != cached.etag if tag else cached.body is None):
            return None
        # PERF: a third of the CPU of a small file (python -m bench performance --workloads file-1k).
        if not 0.0 < request.ready_at <= cached.checked and not _is_current(cached):
            self._responses.pop(request.path, None)
            return None
        if not tag:
            return Response.short(cached.body or b"", cached.fields)
        response = Response.short(b"", cached.not_modified)
        response.status = 304
        return response

    def fields(self, request: Request, file_id: FileId) -> list[tuple[str, str]] | None:
        """Return the fields of the response to an earlier request like this, if `file_id` is still the same."""
        cached = self._responses.get(request.path)
        if cached is None or cached.file_id != file_id or monotonic() > cached.until or not self.is_plain(request):
            return None
        return cached.fields

    def keep(self, request: Request, path: bytes, file_id: FileId, response: Response) -> None:
        """Keep `response`, the whole file at `path` or a 304, for further requests like `request`."""
        tag = self._tag(request)
        if tag is None or len(request.path) > LONGEST_PATH:
            return
        kept = _CachedResponse(path, file_id, response)
        if response.status == (304 if tag else 200) and tag in ("", kept.etag):
            if len(self._responses) >= MOST:
                self._responses.clear()
            self._responses[request.path] = kept

    def is_plain(self, request: Request) -> bool:
        """Return True for a GET of the whole file without conditions."""
        return self._tag(request) == ""

    def _tag(self, request: Request) -> str | None:
        """Return the entity tag that is the condition of a GET, "" for one without, None for any other request."""
        if request.method != "GET":
            return None
        lines = request.lines
        if lines is None:
            return self._tag_of(request)
        if lines not in self._tags:
            if len(self._tags) >= MOST:
                self._tags.clear()
            self._tags[lines] = self._tag_of(request)
        return self._tags.get(lines)

    def _tag_of(self, request: Request) -> str | None:
        found = self._conditions.intersection(request.headers)
        if not found:
            return ""
        # Beside a tag, the date does not count (RFC 9110, section 13.2.2).
        return request.headers["if-none-match"] or None if found - {"if-modified-since"} == {"if-none-match"} else None
