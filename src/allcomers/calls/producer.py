"""A response that is an iterable stays in the thread that has called the app: all its pieces, and its close().

What an app keeps for its thread (a connection to a database, Bottle's `request`) is there for the whole response; no
other call comes between two pieces. So a thread of a pool stays with such a response to its end, and so does the thread
of a loop that has moved on (auto.py). It pulls a piece, has it sent, and pulls the next while that goes out: ahead of
its client by some pieces, and no more. While the client reads slowly, the thread waits; the connection's deadlines end
that, as they end every other wait for a client.

Where the thread of the call is the one that sends, the connection pulls each piece itself (PulledBody.step).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.connection.base import HIGH_WATER
from allcomers.connection.call import PartialResponse
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, PulledBody
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import FileSlice

if TYPE_CHECKING:
    from allcomers.connection.base import Work
    from allcomers.protocol.message import Response

EACH: Final = 256
"""Bytes that a piece counts for beside its own: a flood of short ones has a limit, too."""

Run: TypeAlias = "Callable[[Work], Any]"
"""Runs a further call of the app as calls are run here: counted, perhaps with a time limit."""


def is_bound(reply: object) -> bool:
    """Return whether `reply` is a response of which more is to come from the thread that has it.

    PERF: where calls have no limit, look for a PulledBody first: 1,000 of the 53,000 instructions of a request in
    a pool (bench instructions --kinds pool).
    """
    return isinstance(reply, PulledBody) and reply.is_bound and not isinstance(reply.first, EndOfBody)


def answer(stream: PulledBody, reply: Any, run: Run) -> EndOfBody | Response:
    """Give all of a bound response from this thread, and close it when that has gone out; return what ends it.

    reply  the result of the thread's call: the stream itself, which then begins, or its next piece; b"" where that
           piece is on its way already
    run    raises what ends this at once
    """
    producer = _Producer(stream, run)
    try:
        return producer.give_all(reply)
    except ClientGone:
        run(stream.end)
        return EndOfBody.ABORTED
    except AnswerError as error:  # of its head: nothing has gone out
        run(stream.end)
        stream.fail(error)
        return plain_response(500, "Internal Server Error")


class _Producer:
    """A response that goes out in PartialResponses."""

    def __init__(self, stream: PulledBody, run: Run) -> None:
        self._stream = stream
        self._run = run
        self._outcomes: SimpleQueue[Exception | None] = SimpleQueue()
        self._sizes: deque[int] = deque()  # of the pieces that have not gone out
        self._ahead = 0  # their sum

    def give_all(self, reply: Any) -> EndOfBody:
        """Give piece after piece, to the end. Raises ClientGone, AnswerError."""
        stream = self._stream
        piece: Any = stream.first if reply is stream else reply
        if reply is stream and isinstance(piece, FinalPiece):
            stream.first = piece.piece
        given = stream.sent
        while not isinstance(piece, EndOfBody):
            last = isinstance(piece, FinalPiece)
            if isinstance(piece, FinalPiece):
                piece = piece.piece
            self._give(reply if reply is stream else piece, len(piece))
            given += len(piece)
            if isinstance(piece, FileSlice) or not piece or (reply is stream and stream.may_be_cut):
                self._wait(0)
            else:
                self._wait(HIGH_WATER)
            if last or given >= stream.most:
                break
            reply = piece = self._run(stream.next)
        if piece is not EndOfBody.ABORTED:
            self._give(EndOfBody.COMPLETE, 0)  # its client need not wait until all is closed
            self._wait(0)
        self._run(stream.end)
        return EndOfBody.ABORTED if piece is EndOfBody.ABORTED else EndOfBody.COMPLETE

    def _give(self, data: Any, size: int) -> None:
        driver = self._stream.driver
        assert driver is not None
        self._sizes.append(size + EACH)
        self._ahead += size + EACH
        driver.send(PartialResponse(data, self._outcomes.put))

    def _wait(self, most: int) -> None:
        """Wait until at most so many bytes have not gone out. Raises ClientGone, AnswerError."""
        while self._sizes and (self._ahead > most or not self._outcomes.empty()):
            error = self._outcomes.get()
            self._ahead -= self._sizes.popleft()
            if error is not None:
                raise error
