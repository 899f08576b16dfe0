"""Forms with files: multipart/form-data (RFC 7578), as request.form and request.files read it.

The library `multipart` parses: its PushMultipartParser takes pieces and gives events, checks what it reads, bounds the
heads of parts, and is one file without dependencies. This file has what becomes of the parts: text of bounded size, and
files, which go into one Body for the whole form, so into one temporary file at most, counted like any other.
"""

from __future__ import annotations

import io
import logging
import os
import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from allcomers.config.limits import InputLimits
from allcomers.errors import HttpError, SpoolFull
from allcomers.protocol.body import FULL, Body

_CHUNK: Final = 64 * 1024
_LONGEST_BOUNDARY: Final = 70  # RFC 2046, section 5.1.1
_LONGEST_NAME: Final = 255  # bytes: a file name of Linux
_LONGEST_ENDING: Final = 16  # characters that are kept of ".tar.gz" where a name is cut

_UNSAFE: Final = re.compile(r"""[\x00-\x1f\x7f-\x9f"*:<>?|\ud800-\udfff]+""")
"""Characters that a file name of some system, a shell or a header cannot bear."""


class FormSpool(Body):
    """The files of one form, one after the other. It gives back what it holds when nobody has it any more, too: a
    request that came whole with its head has no exchange that closes it."""

    __slots__ = ()

    def __del__(self) -> None:
        with suppress(Exception):  # as the interpreter ends
            self.close()


class Upload:
    """A file of a form. It can be read until the call, and the response that this returns, are over.

    filename      str, the last part of the name that the client gave, without what a path, a shell or a header could
                  take for something else; at most 255 bytes, perhaps "". Two clients may give the same
    content_type  str, the client's word for what it is, in lower case: check it; "" for none
    size          int, bytes
    """

    __slots__ = ("_file", "_spool", "_start", "content_type", "filename", "size")

    def __init__(self, spool: Body, filename: str, content_type: str) -> None:
        self._spool = spool
        self._start = spool.size
        self._file: BinaryIO | None = None
        self.filename = safe_name(filename)
        self.content_type = content_type
        self.size = 0

    @property
    def file(self) -> BinaryIO:
        """The bytes as a file that can be read and sought; ValueError once the call is over."""
        if self._file is None:
            self._file = cast(BinaryIO, io.BufferedReader(_Window(self._spool, self._start, self.size)))
        return self._file

    def read(self) -> bytes:
        """Return all bytes. Raises ValueError once the call is over."""
        return _pread(self._spool.file, self.size, self._start)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bytes to a new file. Raises FileExistsError where there is one, and other OSErrors."""
        import shutil  # late: most requests have no file

        with Path(path).open("xb") as file:
            try:
                shutil.copyfileobj(_Window(self._spool, self._start, self.size), file, _CHUNK)
            except BaseException:
                Path(path).unlink()
                raise

    def __repr__(self) -> str:
        return f"<Upload {self.filename!r} {self.size} bytes>"


class _Window(io.RawIOBase):
    """`size` bytes of a spool, from `start` on, as a file of their own."""

    def __init__(self, spool: Body, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no byte {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        piece = _pread(self._spool.file, count, self._start + self._at)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _pread(file: IO[bytes], count: int, offset: int) -> bytes:
    """Return at most `count` bytes from `offset` on, wherever the file stands: threads may read at once."""
    if isinstance(file, io.BytesIO):
        with file.getbuffer() as view:
            return bytes(view[offset : offset + count])
    return os.pread(file.fileno(), count, offset)


def safe_name(name: str) -> str:
    """Return the last part of a client's file name, of at most 255 bytes; "" where nothing of it is safe."""
    last = name.replace("\\", "/").rpartition("/")[2]
    safe = _UNSAFE.sub("_", last).strip().lstrip(". ")
    if len(safe.encode()) > _LONGEST_NAME:
        ending = os.path.splitext(safe)[1][:_LONGEST_ENDING]  # noqa: PTH122 - no path
        safe = safe.encode()[: _LONGEST_NAME - len(ending.encode())].decode("utf-8", "ignore") + ending
    return safe


class Form:
    """What came: the fields and the files by name, in their order, and the spool of the files."""

    __slots__ = ("_form_size", "_held", "_limits", "_part", "_text", "fields", "files", "spool")

    def __init__(self, limits: InputLimits) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, Upload]] = []
        self.spool = FormSpool()
        self._limits = limits
        self._held = 0  # bytes of the fields
        self._text: list[bytes] = []
        self._part: Any = None  # the multipart.MultipartSegment that comes

    def take(self, event: Any) -> None:
        """Take an event of the parser. Raises HttpError, SpoolFull, OSError."""
        if event is None:
            self._end_part()
        elif isinstance(event, bytes | bytearray):
            self._add(event)
        else:
            self._begin_part(event)

    def _begin_part(self, part: Any) -> None:
        if not part.name:
            raise HttpError(400, "A part of the form has no name.")
        self._part = part
        if part.filename is not None:
            self.files.append((part.name, Upload(self.spool, part.filename, part.content_type or "")))
            return
        if len(self.fields) >= self._limits.form_fields:
            raise HttpError(413, f"The form has more than {self._limits.form_fields} fields.")
        self._hold(len(part.name))

    def _add(self, piece: bytes | bytearray) -> None:
        if self._part.filename is None:
            self._hold(len(piece))
            self._text.append(bytes(piece))
            return
        upload = self.files[-1][1]
        upload.size += len(piece)
        if upload.size > (self._limits.file_size or upload.size):
            raise HttpError(413, f"A file of the form is larger than {self._limits.file_size} bytes.")
        self.spool.write(bytes(piece))

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._limits.form_size:
            raise HttpError(413, f"The fields of the form are larger than {self._limits.form_size} bytes.")

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part.filename is None:
            text, self._text = b"".join(self._text), []
            try:
                self.fields.append((part.name, text.decode()))
            except UnicodeDecodeError:
                raise HttpError(400, "A field of the form is not UTF-8.") from None
        elif not part.filename and not self.files[-1][1].size:
            self.files.pop()  # a browser's way to send no file


def read(stream: IO[bytes], content_type: str, limits: InputLimits) -> Form:
    """Return the form that `stream` has. Raises HttpError: 400 for what is malformed, 413 for what is too much, 415
    where the library is missing, 503 where there is no room; OSError."""
    library = _library()
    boundary = library.parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise HttpError(400, "The boundary of the form is missing or too long.")
    form = Form(limits)
    try:
        _fill(form, library.PushMultipartParser(boundary, max_segment_count=limits.form_parts), stream)
    except BaseException as error:
        form.spool.close()
        if isinstance(error, library.ParserLimitReached):
            raise HttpError(413, f"The form has more than {limits.form_parts} parts, or a long head of one.") from None
        if isinstance(error, library.MultipartError):
            raise HttpError(400, "The form is not valid.") from None
        if isinstance(error, SpoolFull):
            raise HttpError(503, FULL) from None
        raise
    return form


def _fill(form: Form, parser: Any, stream: IO[bytes]) -> None:
    while piece := stream.read(_CHUNK):
        for event in parser.parse(piece):
            form.take(event)
    parser.close()
    form.spool.rewind()


def _library() -> Any:
    """Return the library. Raises HttpError where it is missing, which is logged once."""
    library: Any
    try:
        library = import_module("multipart")
    except ImportError:
        library = None
    if not hasattr(library, "PushMultipartParser"):  # an old python-multipart has a module of that name
        _warn_of_missing()
        raise HttpError(415, "This server reads no form of multipart/form-data.")
    return library


@cache
def _warn_of_missing() -> None:
    """Log the missing library, once a process."""
    logging.getLogger("allcomers.app").warning(
        "a client sends a form of multipart/form-data, which needs: pip install 'allcomers[forms]'"
    )
