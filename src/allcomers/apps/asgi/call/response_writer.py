"""The response that an app's messages make, one after the other (ASGI, HTTP & WebSocket Message Format, "Response").

A response whose first body message is its last is one Response, framed with its length and sent whole. Any other is a
PushedBody and its further pieces.
"""

from __future__ import annotations

import enum
import math
import os
from pathlib import Path
from typing import IO, Final, Protocol, TypeAlias

from allcomers.apps.asgi.call.messages import (
    Message,
    as_bytes,
    check_status,
    decoded,
    file_part,
    is_event_stream,
    promised,
)
from allcomers.connection.http.response_body import BodySource, FinalPiece, PushedBody
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import FileSlice, Piece, Request, Response

IGNORED: Final = 64
"""Messages after the end that are ignored. An app that sends more is stopped: the response to a HEAD request is
complete with its head, however long the stream behind it."""

Output: TypeAlias = Response | PushedBody | Piece | FinalPiece | None
"""What the connection is to send; None for nothing yet."""


class ResponseState(enum.Enum):
    NONE = "no message has come"
    HEAD = "the head is known, and nothing is sent"
    STREAMING = "the head is sent, or on its way"
    DONE = "the response is whole, or never will be"


class Source(BodySource, Protocol):
    """The call that a response is of; it gets the steps of a PushedBody."""

    @property
    def request(self) -> Request: ...


NONE: Final = ResponseState.NONE
HEAD: Final = ResponseState.HEAD
STREAMING: Final = ResponseState.STREAMING
DONE: Final = ResponseState.DONE


class ResponseWriter:
    """One response.

    head        its status and headers, once known
    is_sending  whether a piece is on its way, with more to follow
    """

    # PERF: no __slots__: CPython 3.13 has a quicker way for such a class, to make it and to call __init__
    # (ALLCOMERS_PURE=1 python -m bench instructions --kinds asgi).

    def __init__(self) -> None:
        self.head: Response | None = None
        self.is_sending = False
        self.state: ResponseState = NONE
        self._left = math.inf  # bytes that the head promises still
        self._trailers: list[tuple[str, str]] | None = None  # None where the app announced none
        self._file: IO[bytes] | None = None  # that the piece on its way comes from
        self._ignored = 0

    @property
    def is_unsent(self) -> bool:
        """Whether nothing of it is sent: another may take its place."""
        return self.state is HEAD or self.state is NONE

    @property
    def is_endless(self) -> bool:
        """Whether it is a stream of server-sent events, which does not end by itself."""
        return self.state is STREAMING and self.head is not None and is_event_stream(self.head)

    def write(self, message: Message, source: Source) -> Output:
        """Return what `message` adds; `source` is to push the body. Raises AnswerError: it has no place here."""
        kind = message["type"]
        if self.head is None:
            if kind != "http.response.start":
                raise AnswerError(f"the first message of an answer is http.response.start, not {kind!r}")
            self._start(message)
            return None
        if kind == "http.response.body":
            body = message.get("body", b"")
            piece: Piece = body if type(body) is bytes else as_bytes(body)
        elif kind == "http.response.zerocopysend":
            piece = self._part_of_file(message)
        elif kind == "http.response.pathsend":
            return self._finish(self._whole_file(message["path"]), source)
        elif kind == "http.response.trailers" and self._trailers is not None:
            self._trailers += decoded(message["headers"])
            return None if message.get("more_trailers", False) else self._finish(b"", source)
        else:
            raise AnswerError(f"{kind!r} has no place in an answer that has begun")
        more = message.get("more_body", False)
        if more or self._trailers is not None:
            return self._add(piece, source)
        return self._finish(piece, source)

    def _start(self, message: Message) -> None:
        check_status(message["status"])
        self.head = Response(status=message["status"], headers=decoded(message.get("headers", ())))
        self.state = HEAD
        if message.get("trailers", False):
            self._trailers = self.head.trailers = []

    def _add(self, piece: Piece, source: Source) -> Output:
        """Add a piece of the body that something follows: more pieces, or trailers."""
        assert self.head is not None
        is_first = self.state is HEAD
        if is_first:
            self._left = promised(source.request, self.head)
        self._left -= len(piece)
        if self._left <= 0:
            return self._finish(piece, source, alone=False)
        self.is_sending = is_first or len(piece) > 0
        self.state = STREAMING
        if is_first:
            return PushedBody(self.head, piece, source)
        return piece if self.is_sending else None

    def _finish(self, piece: Piece, source: Source, *, alone: bool = True) -> Output:
        """Add the last piece. If it is `alone`, and the first too, it is all that the body has."""
        head = self.head
        assert head is not None
        if self._file is not None and head.close is None:
            head.close = self.close_file
        before, self.state = self.state, DONE
        if before is STREAMING:
            return FinalPiece(piece)
        head.body = piece
        return head if alone else PushedBody(head, FinalPiece(piece), source)

    def _part_of_file(self, message: Message) -> FileSlice:
        self.close_file()
        self._file, offset, count = file_part(message)
        return FileSlice(self._file, offset, count)

    def _whole_file(self, path: str) -> FileSlice:
        if self.state is STREAMING:
            raise AnswerError("http.response.pathsend is the whole body, and some has been sent already")
        self._file = Path(path).open("rb", buffering=0)
        return FileSlice(self._file, 0, os.fstat(self._file.fileno()).st_size)

    def sent(self) -> None:
        """Note that the piece on its way has gone out."""
        self.is_sending = False
        self.close_file()

    def close_file(self) -> None:
        """Close the file of a piece that has gone out, or never will."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def ignore(self) -> None:
        """Count a message after the end: "Any further messages on the channel will be ignored." Raises ClientGone."""
        self._ignored += 1
        if self._ignored > IGNORED:
            raise ClientGone("the client has had all of the answer")
