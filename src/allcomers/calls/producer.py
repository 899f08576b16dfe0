"""An answer that is an iterable stays in the thread that has called the app: all its pieces, and its close().

What an app keeps for its thread (a connection to a database, Bottle's `request`) is there for the whole answer, and no
other call comes between two pieces. So a thread of a pool stays with such an answer to its end, and so does the thread
of a loop that has moved on (auto.py). It pulls a piece, has it sent, and pulls the next while that goes out: ahead of
its client by some pieces, and no more. While the client reads slowly, the thread waits; the connection's deadlines end
that, as they end every other wait for a client.

Where the thread of the call is the one that sends, the connection asks for each piece itself (streams.Pulled.step).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from allcomers.connection import HIGH_WATER, Work
from allcomers.errors import AnswerError, ClientGone
from allcomers.http_calls import internal_error
from allcomers.protocol.message import FileSlice, Piece, Response
from allcomers.signs import Part
from allcomers.streams import End, Last, Pulled

EACH: Final = 256
"""Bytes that a piece counts for beside its own: a flood of short ones has a limit, too."""

_NOTHING_MORE: Final = Last(b"")

Run = Callable[[Work], Any]
"""Runs a further call of the app as calls are run here: counted, perhaps with a limit of time."""


def is_bound(reply: object) -> bool:
    """Whether `reply` is an answer of which more is to come from the thread that has it."""
    return isinstance(reply, Pulled) and reply.is_bound and not isinstance(reply.first, End)


def answer(stream: Pulled, reply: Any, done: Callable[[Any], object], run: Run) -> None:
    """Give all of a bound answer from this thread, then close it.

    reply  what the thread's call has returned: the stream itself, which then begins, or its next piece
    done   told, once, the reply that ends the answer
    run    what it raises ends this at once
    """
    end = reply
    if not isinstance(stream.first if reply is stream else reply, Last | End):
        end = _Producer(stream, run).give_all(reply)
    if isinstance(end, Last | Pulled):
        _close_when_sent(stream, partial(done, end), run)
    else:
        done(end)


def _close_when_sent(stream: Pulled, done: Callable[[], object], run: Run) -> None:
    """The end of the body is known before it is closed: the client need not wait for that."""
    sent: SimpleQueue[None] = SimpleQueue()
    rest = stream.close_later(partial(sent.put, None))
    done()
    sent.get()
    run(rest.end)


class _Producer:
    """An answer that goes out in Parts."""

    def __init__(self, stream: Pulled, run: Run) -> None:
        self._stream = stream
        self._run = run
        self._told: SimpleQueue[Exception | None] = SimpleQueue()
        self._sizes: deque[int] = deque()  # of the parts that have not gone out
        self._ahead = 0  # their sum

    def give_all(self, reply: Any) -> Last | End | Response:
        """Give piece after piece; return what is to be said at the end. If that is no Last, all is closed."""
        stream = self._stream
        try:
            return self._give_all(reply)
        except ClientGone:
            self._run(stream.end)
            return End.BROKEN
        except AnswerError as error:  # of its head: nothing has gone out
            self._run(stream.end)
            stream.fail(error)
            return internal_error()

    def _give_all(self, reply: Any) -> Last | End:
        stream = self._stream
        piece: Piece | Last | End = stream.first if reply is stream else reply
        given = stream.sent
        while not isinstance(piece, Last | End):
            self._give(reply, len(piece))
            given += len(piece)
            if isinstance(piece, FileSlice) or not piece or (reply is stream and stream.may_be_cut):
                self._wait(0)
            else:
                self._wait(HIGH_WATER)
            if given >= stream.most:
                return _NOTHING_MORE
            reply = piece = self._run(stream.next)
        if isinstance(piece, End):
            if piece is End.WHOLE:
                return _NOTHING_MORE
            self._run(stream.end)
        return piece

    def _give(self, said: Any, size: int) -> None:
        driver = self._stream.driver
        assert driver is not None
        self._sizes.append(size + EACH)
        self._ahead += size + EACH
        driver.send(Part(said, self._told.put))

    def _wait(self, most: int) -> None:
        """Wait until at most so many bytes have not gone out. Raises ClientGone, AnswerError."""
        while self._sizes and (self._ahead > most or not self._told.empty()):
            error = self._told.get()
            self._ahead -= self._sizes.popleft()
            if error is not None:
                raise error
