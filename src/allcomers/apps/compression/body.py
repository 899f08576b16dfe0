"""Bodies on their way through a coding: one response's, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from weakref import WeakSet

from allcomers.apps.compression.codings import ContentCoding
from allcomers.connection.http.response_body import EndOfBody, FinalPiece
from allcomers.errors import AnswerError
from allcomers.protocol.message import FileSlice

MOST_ENCODERS: Final = 1000
"""Bodies in pieces that a process codes at once; further ones go out plain. Each holds memory for as long as its
response lasts: zstd 270 KiB, gzip 260, br 500 (tests/apps/compression/test_codings.py)."""

_READ: Final = 64 * 1024
"""Bytes of a file that are coded at once."""

_END: Final = object()

_live: WeakSet[BodyEncoder] = WeakSet()


def has_room() -> bool:
    """Return whether one more body in pieces may be coded now."""
    return len(_live) < MOST_ENCODERS


class BodyEncoder:
    """The encoder of one body, which stops where its Content-Length does.

    declared  bytes that the Content-Length has promised, None for any number
    """

    __slots__ = ("__weakref__", "_encoder", "_left")

    def __init__(self, coding: ContentCoding, declared: int | None) -> None:
        self._encoder = coding.stream()
        self._left = declared
        _live.add(self)

    @property
    def is_whole(self) -> bool:
        """Whether all has come that was promised."""
        return not self._left

    def add(self, data: bytes) -> bytes:
        """Take `data`, more of which follows at once; return what is ready."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return self._encoder.add(data)

    def encode(self, data: bytes) -> bytes:
        """Return `data` coded, so that the client can decode all of it; b"" for b""."""
        return self.add(data) + self._encoder.flush() if data else b""

    def finish(self, data: bytes = b"") -> bytes:
        """Return the end of the body, with `data` before it."""
        return self.add(data) + self._encoder.finish()


class EncodedPieces:
    """The pieces of an iterable, coded: an iterator, for a PulledBody.

    A file is read and coded bit by bit; any other piece is coded by itself, and can be decoded when it has arrived.
    """

    __slots__ = ("_body", "_encoder", "_file", "_is_last", "_pieces")

    def __init__(self, body: Any, encoder: BodyEncoder) -> None:
        self._body = body
        self._encoder = encoder
        self._pieces: Iterator[Any] | None = None  # once it is iterated
        self._file: FileSlice | None = None  # what is left of a part of a file
        self._is_last = False

    def __iter__(self) -> EncodedPieces:
        if self._pieces is None:
            self._pieces = iter(self._body)
        return self

    def __next__(self) -> Any:
        if self._file is not None:
            return self._next_of_file()
        if self._is_last:
            raise StopIteration
        assert self._pieces is not None
        piece: Any = next(self._pieces, _END)
        if piece is _END:
            self._is_last = True
            return self._encoder.finish() if self._encoder.is_whole else EndOfBody.ABORTED
        final = isinstance(piece, FinalPiece)
        if final:
            piece = piece.piece
        if isinstance(piece, FileSlice):
            piece.check()
            self._file, self._is_last = FileSlice(piece.file, piece.offset, piece.count), final
            return self._next_of_file()
        if isinstance(piece, bytes):
            return self._final(piece) if final else self._encoder.encode(piece)
        return piece  # the end of a response that fails, or what no piece can be

    def _next_of_file(self) -> Any:
        """Return the next bytes of the file that are ready."""
        file = self._file
        assert file is not None
        while file.count > 0:
            data = file.read(_READ)
            if not data:
                raise AnswerError("the file has become shorter while it was sent")
            file.skip(len(data))
            if file.count == 0:
                self._file = None
                return self._final(data) if self._is_last else self._encoder.encode(data)
            if ready := self._encoder.add(data):
                return ready
        self._file = None
        return self._final(b"") if self._is_last else b""

    def _final(self, data: bytes) -> FinalPiece | EndOfBody:
        end = self._encoder.finish(data)
        return FinalPiece(end) if self._encoder.is_whole else EndOfBody.ABORTED

    def end_early(self) -> bytes:
        """Return the end of a body that is to have no more pieces; b"" once it has that."""
        if self._is_last:
            return b""
        self._is_last, self._file = True, None
        return self._encoder.finish()

    def close(self) -> None:
        """Close the iterable, where that has something to close."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def joined(pieces: Iterable[Any]) -> bytes | None:
    """Return a list of bytes as one; None for one with other pieces."""
    return b"".join(pieces) if all(type(piece) is bytes for piece in pieces) else None
