"""Files that were just asked for, with their answers: what costs most of a small one is to find and to open it.

An answer is given again if the file under its path is the same still: whoever asks after a change gets the new file. So
it is looked at for each request (stat(2)), but not for one that was here already when that was last done for another:
of the peers that a poller tells together, only the first costs a look. Whether there are coded files beside it is
looked at again after a second. Of a larger file the fields are kept alone, and it is opened for each request.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Final, TypeAlias

from allcomers.protocol.message import Request, Response

MOST: Final = 512
"""Answers that are kept, of files of up to message.SMALL bytes: 8 MiB at most. When they are full all are dropped."""

LONGEST_PATH: Final = 256

FRESH: Final = 1.0
"""Seconds for which nobody looks whether there is a coded file now."""

FileId: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, when it was written and when it was changed, in nanoseconds: another file, or the same with
other content, has another one."""


def file_id(found: os.stat_result) -> FileId:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Answer:
    __slots__ = ("body", "fields", "file_id", "looked", "path", "until")

    def __init__(self, path: bytes, file_id: FileId, body: bytes | None, fields: list[tuple[str, str]]) -> None:
        self.path = path
        self.file_id = file_id
        self.body = body
        self.fields = fields
        self.looked = 0.0  # a time before the last look at the file
        self.until = monotonic() + FRESH


def _look(answer: _Answer) -> bool:
    """May it be given again?"""
    now = monotonic()
    try:
        found = os.stat(answer.path)  # noqa: PTH116 - making a Path costs more than the call
    except OSError:
        return False
    if file_id(found) != answer.file_id or now > answer.until:
        return False
    answer.looked = now
    return True


class FileCache:
    """Of one site. Any number of threads may use it at once.

    asks  names of fields, in lower case, that change an answer
    """

    __slots__ = ("_answers", "_asks", "_plain")

    def __init__(self, asks: frozenset[str]) -> None:
        self._asks = asks
        self._answers: dict[str, _Answer] = {}
        self._plain: dict[bytes, bool] = {}  # has a head with these lines none of the fields?

    def find(self, request: Request) -> Response | None:
        """The answer that was given to the like of it, if the file is small and the same."""
        answer = self._answers.get(request.path)
        if answer is None or answer.body is None or not self.is_plain(request):
            return None
        # PERF: a third of the CPU of a small file (python -m bench comparison --workloads file-1k).
        if not 0.0 < request.ready_at <= answer.looked and not _look(answer):
            self._answers.pop(request.path, None)
            return None
        return Response.short(answer.body, answer.fields)

    def fields(self, request: Request, file_id: FileId) -> list[tuple[str, str]] | None:
        """Those of the answer that was given to the like of it, if this is the file that was found then."""
        answer = self._answers.get(request.path)
        if answer is None or answer.file_id != file_id or monotonic() > answer.until or not self.is_plain(request):
            return None
        return answer.fields

    def keep(self, request: Request, path: bytes, file_id: FileId, response: Response) -> None:
        """`response` answers `request` with the whole file at `path`."""
        if len(request.path) <= LONGEST_PATH and self.is_plain(request):
            if len(self._answers) >= MOST:
                self._answers.clear()
            body = response.body if isinstance(response.body, bytes) else None
            self._answers[request.path] = _Answer(path, file_id, body, response.headers)

    def is_plain(self, request: Request) -> bool:
        """Is it a GET that asks for the file as it is?"""
        if request.method != "GET":
            return False
        lines = request.lines
        if lines is None:
            return self._asks.isdisjoint(request.headers)
        plain = self._plain.get(lines)
        if plain is None:
            plain = self._asks.isdisjoint(request.headers)
            if len(self._plain) >= MOST:
                self._plain.clear()
            self._plain[lines] = plain
        return plain
