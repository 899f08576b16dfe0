"""wsgi.file_wrapper: how a WSGI app returns a file (PEP 3333, "Optional Platform-Specific File Handling").

This file knows which files the kernel can send. The connection sends them.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, Final, cast

from allcomers.protocol.message import FileSlice

_FILES: Final = (io.BufferedReader, io.BufferedRandom, io.FileIO)


class FileWrapper:
    """wsgi.file_wrapper: a file that an app returns instead of its blocks.

    A regular file that was opened as bytes is sent with sendfile(2), from its position on; any other object with a
    read() is sent in blocks. Its close(), if it has one, is called at the end.
    """

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        self._file = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if block := self._file.read(self._block_size):
            return cast(bytes, block)
        raise StopIteration

    @property
    def closes_file(self) -> bool:
        """Whether close() runs no code of the app: it is the own one of a file of Python's."""
        return type(self._file) in _FILES and getattr(self.close, "__self__", None) is self._file

    def slice(self) -> FileSlice | None:
        """Return the rest of the file; None where that may differ from the data of read()."""
        file: Any = self._file
        if type(file).__module__ == "tempfile":
            file = getattr(file, "file", None)
        # Only these types: the fileno() of a gzip.GzipFile, for one, is that of the compressed file.
        if type(file) not in _FILES:
            return None
        if type(file) is not io.FileIO and type(file.raw) is not io.FileIO:
            return None
        file.flush()
        status = os.fstat(file.fileno())
        count = status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else 0
        # A file of 0 bytes may have data all the same, below /proc.
        return FileSlice(file, file.tell(), count) if count > 0 else None
