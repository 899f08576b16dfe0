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
    promised,
)
from allcomers.connection.http.response_body import BodySource, FinalPiece, PushedBody, is_event_stream
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import FileSlice, Piece, Request, Response

MOST: Final = 64 * 1024
"""Bytes that are kept to be sent together."""

IGNORED: Final = 64
"""Messages after the end that are ignored. An app that sends more is stopped: the response to a HEAD request is
complete with its head, however long the stream behind it."""

Output: TypeAlias = Response | PushedBody | Piece | FinalPiece | None
"""What the connection is to send; None for nothing yet."""


class ResponseState(enum.Enum):
    NONE = "no message has come"
    HEAD = "the head is known, and not sent"
    STREAMING = "the head is sent, or on its way"
    TRAILERS = "the body is whole, and its trailers follow"
    DONE = "the response is whole, or never will be"


class PushSource(BodySource, Protocol):
    """The call that a response is of; it gets the steps of a PushedBody."""

    @property
    def request(self) -> Request: ...


NONE: Final = ResponseState.NONE
HEAD: Final = ResponseState.HEAD
STREAMING: Final = ResponseState.STREAMING
TRAILERS: Final = ResponseState.TRAILERS
DONE: Final = ResponseState.DONE


class ResponseWriter:
    """One response.

    head        its status and headers, once known
    is_sending  whether a piece is on its way, with more to follow
    turn        int: that in which one has gone out at once last (turns.Turns)
    """

    # PERF: no __slots__: CPython 3.13 has a quicker way for such a class, to make it and to call __init__
    # (ALLCOMERS_PURE=1 python -m bench instructions --kinds asgi).

    def __init__(self) -> None:
        self.head: Response | None = None
        self.is_sending = False
        self.turn = -1
        self.state: ResponseState = NONE
        self._sent = 0  # bytes of the body
        self._most = math.inf  # bytes that the head promises
        self._trailers: list[tuple[str, str]] | None = None  # None where the app announced none
        self._file: IO[bytes] | None = None  # that the piece on its way comes from
        self._ignored = 0
        self._held: list[bytes] = []  # pieces that are sent together
        self._held_size = 0
        self._beginning: PushedBody | None = None  # of the response, if they begin it

    @property
    def is_unsent(self) -> bool:
        """Whether nothing of it is sent: another may take its place."""
        return self.state is HEAD or self.state is NONE

    @property
    def is_endless(self) -> bool:
        """Whether it is a stream of server-sent events, which does not end by itself."""
        return self.state is STREAMING and self.head is not None and is_event_stream(self.head)

    def write(self, message: Message, source: PushSource) -> Output:
        """Return what `message` adds; `source` is to push the body. Raises AnswerError: it has no place here."""
        kind = message["type"]
        if self.head is None:
            if kind != "http.response.start":
                raise AnswerError(f"the first message of a response is http.response.start, not {kind!r}")
            self._start(message)
            return None
        if self.state is TRAILERS or kind == "http.response.trailers":
            return self._add_trailers(message, source)
        if kind == "http.response.body":
            body = message.get("body", b"")
            piece: Piece = body if type(body) is bytes else as_bytes(body)
        elif kind == "http.response.zerocopysend":
            piece = self._part_of_file(message)
        elif kind == "http.response.pathsend":
            return self._finish(self._whole_file(message["path"]), source)
        else:
            raise AnswerError(f"{kind!r} has no place here: {self.state.value}")
        more = message.get("more_body", False)
        if more or self._trailers is not None:
            return self._add(piece, more, source)
        return self._finish(piece, source)

    def _start(self, message: Message) -> None:
        check_status(message["status"])
        self.head = Response(status=message["status"], headers=decoded(message.get("headers", ())))
        self.state = HEAD
        if message.get("trailers", False):
            self._trailers = self.head.trailers = []

    def write_head(self, source: PushSource) -> PushedBody | None:
        """Return the head by itself. None where it is sent, or all of the response: the app's body ends it then."""
        if self.state is not HEAD or self.head is None:
            return None
        self._most = promised(source.request, self.head)
        if self._most == 0:
            return None
        self.state = STREAMING
        return PushedBody(self.head, b"", source)

    def _add(self, piece: Piece, more: bool, source: PushSource) -> Output:
        """Add a piece of the body that something follows: more pieces, or trailers."""
        assert self.head is not None
        is_first = self.state is HEAD
        if is_first:
            self._most = promised(source.request, self.head)
        self._sent += len(piece)
        if self._sent >= self._most:
            return self._finish(piece, source, alone=False)
        self.state = STREAMING if more else TRAILERS
        if is_first:
            return PushedBody(self.head, piece, source)
        return piece if len(piece) else None

    def _add_trailers(self, message: Message, source: PushSource) -> Output:
        """Add trailers, which follow the last http.response.body (ASGI, extensions, "HTTP Trailers")."""
        kind = message["type"]
        if kind != "http.response.trailers" or self._trailers is None:
            raise AnswerError(f"{kind!r} has no place here: {self.state.value}")
        if self.state is not TRAILERS:
            raise AnswerError("http.response.trailers has its place behind the last http.response.body")
        if "headers" not in message:
            raise AnswerError("http.response.trailers has no headers")
        self._trailers += decoded(message["headers"])
        return None if message.get("more_trailers", False) else self._finish(b"", source)

    def _finish(self, piece: Piece, source: PushSource, *, alone: bool = True) -> Output:
        """Add the last piece. If it is `alone`, and the first too, it is all that the body has."""
        head = self.head
        assert head is not None
        if self._file is not None and head.close is None:
            head.close = self.close_file
        before, self.state = self.state, DONE
        if before is not HEAD:
            return self._with_held(FinalPiece(piece))
        head.body = piece
        return head if alone else PushedBody(head, FinalPiece(piece), source)

    @property
    def is_holding(self) -> bool:
        """Whether pieces wait to be sent together."""
        return bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether they are to wait no longer."""
        return self._held_size >= MOST

    def fits(self, message: Message) -> bool:
        """Return whether `message` may add to the pieces that are kept."""
        body = message.get("body", b"")
        is_body = message["type"] == "http.response.body" and type(body) is bytes
        return is_body and self._held_size + len(body) <= MOST

    def hold(self, output: PushedBody | Piece) -> bool:
        """Keep a piece, to be sent with those that follow. Return False for one that cannot be kept."""
        piece = output.first if isinstance(output, PushedBody) else output
        if not isinstance(piece, bytes):
            return False
        if isinstance(output, PushedBody):
            self._beginning = output
        self._held.append(piece)
        self._held_size += len(piece)
        return True

    def take(self) -> PushedBody | Piece:
        """Return the pieces that were kept, as one."""
        piece, beginning = b"".join(self._held), self._beginning
        self.drop()
        if beginning is None:
            return piece
        beginning.first = piece
        return beginning

    def drop(self) -> None:
        """Forget the pieces that were kept."""
        self._held.clear()
        self._held_size = 0
        self._beginning = None

    def _with_held(self, final: FinalPiece) -> FinalPiece | PushedBody:
        """Return the end of the response behind the pieces that were kept."""
        if not self._held:
            return final
        assert isinstance(final.piece, bytes)  # a file is behind nothing that is kept
        self._held.append(final.piece)
        held = self.take()
        if not isinstance(held, PushedBody):
            return FinalPiece(held)
        assert isinstance(held.first, bytes)
        held.first = FinalPiece(held.first)
        return held

    def _part_of_file(self, message: Message) -> FileSlice:
        self.close_file()
        self._file, offset, count = file_part(message)
        return FileSlice(self._file, offset, count)

    def _whole_file(self, path: str) -> FileSlice:
        if self._sent:
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

    def ignore(self, message: Message) -> AnswerError | None:
        """Count a message after the end: "Any further messages on the channel will be ignored." Raises ClientGone.

        Return what is wrong with it: it is the first, and more of a body that has all its Content-Length."""
        self._ignored += 1
        if self._ignored > IGNORED:
            raise ClientGone("the client has all of the response")
        if self._ignored == 1 and self._sent == self._most > 0 and message.get("body"):
            return AnswerError("the app goes on with a body that has as many bytes as its Content-Length already")
        return None
