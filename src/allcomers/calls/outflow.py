"""A response that goes out while its call runs on: WSGI's write(), and iterables, whose pieces come from one thread.

An iterable stays in the thread that has called the app: all its pieces, and its close(). What an app keeps for its
thread (a connection to a database, Bottle's `request`) is there for the whole response; no other call comes between two
pieces. The thread gives a piece, and pulls the next while that goes out: ahead of its client by some pieces, and no
more. Pieces that come without a wait go out together (giving.py).

No call waits for a thread that waits for a slow client:

- what write() is given beyond the memory for one response goes to a temporary file (connection/http/spool.py), so the
  call goes on, and its thread is free when it is over;
- an iterable is not pulled further ahead than that memory. Its thread waits, for what it keeps is the app's; but its
  place among --threads is another's meanwhile (Calls.away).

Where the thread of the call is the one that sends, the connection pulls each piece itself (PulledBody.step).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from allcomers.connection.base import HIGH_WATER
from allcomers.connection.call import PartialResponse
from allcomers.connection.http.response_body import (
    ENDLESS,
    EndOfBody,
    PulledBody,
    StreamingBody,
)
from allcomers.connection.http.spool import SPOOL_MOST, Spool, SpooledBody
from allcomers.errors import ClientGone
from allcomers.protocol.message import FileSlice, Piece, Response
from allcomers.system.native.threads import Condition
from allcomers.system.processes import forks

if TYPE_CHECKING:
    pass

EACH: Final = 256
"""Bytes that a piece counts for beside its own: a flood of short ones has a limit, too."""

PROMPT: Final = 0.005
"""Seconds in which a client that is not slow makes room: the interpreter runs one thread for so long
(sys.getswitchinterval()), so to give up the thread's place sooner would gain nothing."""


class Stage(enum.Enum):
    """How far a response is."""

    NEW = "nothing of it is sent"
    BEGUN = "its head is on its way"
    OVER = "its call is over, and all of it is with the connection"
    HANDED_ON = "its call is over, and a SpooledBody has the rest"


NEW, BEGUN, OVER, HANDED_ON = Stage


def nothing() -> None:
    """Do nothing: nothing is held."""


class Outflow:
    """The response of one call, on its way to the thread that has the connection.

    send  called with a PartialResponse, from any thread; with the lock held, so that parts keep their order
    away  a context in which the thread of the call waits for its client

    on_write  called before a piece is written: others may be held that come before it
    """

    def __init__(
        self,
        send: Callable[[PartialResponse], object],
        away: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.on_write: Callable[[], object] = nothing
        self._send = send
        self._away = away
        self._changed = Condition()  # its lock is for all that follows
        self._stage = NEW
        self._body: StreamingBody | None = None  # as the connection frames it
        self._given = 0  # bytes of it, those included that the connection may drop
        self._error: Exception | None = None  # why no more can be sent
        self._ahead = 0  # bytes on their way, and EACH for each part
        self._spool: Spool | None = None

    # ------------------------------------------------------------ in the thread of the call

    @property
    def left(self) -> int:
        """The bytes of the body that are not given yet; ENDLESS before the connection has begun it."""
        return ENDLESS if self._body is None else self._body.most - self._given

    @property
    def has_begun(self) -> bool:
        return self._stage is not NEW

    def begin(self, beginning: Response | StreamingBody, size: int) -> None:
        """Send the head, and a first piece of `size` bytes. Raises AnswerError for a head that cannot be sent, and
        ClientGone."""
        self.begin_soon(beginning, size)
        self.wait_begun()

    def begin_soon(self, beginning: Response | StreamingBody, size: int) -> None:
        """Begin, without a wait for what becomes of the head. Raises ClientGone. Called in any thread."""
        if forks.is_copy:
            forks.leave()
        self._post(beginning, size, self._begun)

    def wait_begun(self) -> None:
        """Wait until the head is with the connection. Raises as begin() does."""
        with self._changed:
            self._changed.wait_for(lambda: self._stage is not NEW or self._error is not None)
        self._check()

    def follow(self, stream: PulledBody, piece: bytes | FileSlice) -> None:
        """Go on with the first piece of an iterable, which begins the response unless that has begun. Raises as
        begin() does."""
        if self._stage is NEW:
            self.begin(stream, len(piece))
            self.wait(0 if isinstance(piece, FileSlice) else HIGH_WATER)
        else:
            self.give(piece)

    def adopt(self, stream: PulledBody) -> None:
        """Go on with a response that the connection itself has begun."""
        self._body, self._given = stream, stream.sent
        self._stage = BEGUN

    def post(self, data: Piece | EndOfBody) -> None:
        """Send a further part, without a wait. Raises ClientGone. Called in any thread."""
        self._post(data, 0 if isinstance(data, EndOfBody) else len(data))

    def write(self, data: bytes) -> None:
        """Take a further piece over: in memory, or in the spool. Raises ClientGone; OSError where it cannot be kept."""
        self.on_write()
        at = 0
        while at < len(data):
            if self._has_room():
                count = min(len(data) - at, HIGH_WATER)
                self._post(data if count == len(data) else data[at : at + count], count)
            else:
                count = self._store(memoryview(data)[at:])
            at += count

    def give(self, piece: bytes | FileSlice) -> None:
        """Send a further piece behind all that was written, and wait until its client is near. Raises ClientGone."""
        if self._spool is not None and isinstance(piece, bytes):
            self.write(piece)
            return
        if self._spool is not None:
            self.wait(0)
        self.post(piece)
        self.wait(0 if isinstance(piece, FileSlice) or not piece else HIGH_WATER)

    def wait(self, most: int) -> None:
        """Wait until at most so many bytes have not gone out. Raises ClientGone."""
        self._wait(lambda: self._ahead + self._pending <= most)

    def complete(self) -> EndOfBody:
        """Send the end of the body, unless more comes before it; wait a moment for all to go out. Raises ClientGone."""
        if not self._pending:
            self._post(EndOfBody.COMPLETE, 0)  # its client need not wait until all is closed
            with self._changed:
                self._changed.wait_for(lambda: not self._ahead or self._error is not None, PROMPT)
            self._check()
        return EndOfBody.COMPLETE

    def finish(self, end: EndOfBody) -> SpooledBody | EndOfBody:
        """Return the reply of a call that gives no more."""
        body, self._body = self._body, None  # which may know the request, which knows this
        with self._changed:
            if body is not None and self._error is None and self._spool is not None and self._spool.pending:
                self._stage = HANDED_ON
                return SpooledBody(body.response, self._spool, end)
            self._stage = OVER
            self._close_spool()
        return end

    def stop(self) -> None:
        """Take nothing more: the response has been ended. Called in any thread."""
        with self._changed:
            self._error = self._error or ClientGone("the server leaves, and the response has been ended")
            self._changed.notify_all()

    # ------------------------------------------------------------ parts

    @property
    def _pending(self) -> int:
        return self._spool.pending if self._spool is not None else 0

    def _check(self) -> None:
        if (error := self._error) is not None:
            raise type(error)(*error.args)  # another each time: a traceback would refer to this

    def _post(self, data: Any, size: int, on_begun: Callable[[StreamingBody], object] | None = None) -> None:
        """Send a part. Raises ClientGone, AnswerError."""
        with self._changed:
            self._check()
            self._given += size
            self._ahead += size + EACH
            self._send(PartialResponse(data, partial(self._sent, size), on_begun))

    def _begun(self, body: StreamingBody) -> None:
        with self._changed:
            if self._stage is NEW:  # else the call has been given up meanwhile
                self._body = body
                self._stage = BEGUN
            self._changed.notify_all()

    def _sent(self, size: int, error: Exception | None) -> None:
        """Note that a part has gone out, or why it never will. Called in any thread."""
        with self._changed:
            self._ahead -= size + EACH
            if error is not None and self._error is None:
                self._error = error.with_traceback(None)  # which has frames that know this: a circle
            if self._spool is not None:
                self._send_spooled()
                self._close_spool()
            self._changed.notify_all()

    def _send_spooled(self) -> None:
        """Send a part from the spool, if it is time. Called with the lock held."""
        if self._spool is None or self._stage is not BEGUN or self._error is not None or self._ahead >= HIGH_WATER:
            return
        try:
            piece = self._spool.take()
        except OSError as error:
            self._error = error
            return
        if piece:
            self._ahead += len(piece) + EACH
            self._send(PartialResponse(piece, partial(self._sent, len(piece))))

    def _close_spool(self) -> None:
        """Close the spool, if nobody needs it any more. Called with the lock held."""
        if self._spool is not None and self._stage is OVER and not self._ahead:
            self._spool.close()

    # ------------------------------------------------------------ a slow client

    def _has_room(self) -> bool:
        """Return whether a piece may be sent from memory. Raises ClientGone."""
        with self._changed:
            if not self._pending:
                self._changed.wait_for(lambda: self._ahead < HIGH_WATER or self._error is not None, PROMPT)
            self._check()
            return not self._pending and self._ahead < HIGH_WATER

    def _store(self, data: memoryview) -> int:
        """Write the beginning of `data` to the spool. Return its length. Raises OSError, ClientGone."""
        if self._spool is None:
            spool = Spool()
            with self._changed:
                self._spool = spool
        spool = self._spool
        if not spool.room:
            self._wait(lambda: spool.room >= SPOOL_MOST // 2)
        count = min(len(data), spool.room)
        try:
            spool.append(data[:count])
        except OSError as error:
            with self._changed:
                self._error = self._error or type(error)(*error.args)
            raise
        self._given += count
        with self._changed:
            self._send_spooled()
        return count

    def _wait(self, is_there: Callable[[], bool]) -> None:
        """Wait for the client; another call has the place of this one where that takes long. Raises ClientGone."""

        def is_over() -> bool:
            return self._error is not None or is_there()

        with self._changed:
            if self._changed.wait_for(is_over, PROMPT):
                self._check()
                return
        with self._away(), self._changed:
            self._changed.wait_for(is_over)
        self._check()
