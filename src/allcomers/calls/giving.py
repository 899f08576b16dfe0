"""How the thread of a call gives a response that is an iterable: to its end, through an Outflow.

Pieces that come without a wait are held, and go out together. None is held for long while the app makes the next: a
watchdog looks each millisecond, and sends those that it finds at two looks. So transmission goes on while the app
works, as PEP 3333 wants it ("Buffering and Streaming"). A piece that took longer than a look goes out at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from allcomers.calls.outflow import Outflow, nothing
from allcomers.calls.watchdog import DOZE, LOOK, Watchdog
from allcomers.connection.base import HIGH_WATER
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, GatheredBody, PulledBody
from allcomers.connection.http.response_head import plain_response
from allcomers.connection.http.spool import SpooledBody
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import FileSlice, Response
from allcomers.system.processes.forks import new_lock

if TYPE_CHECKING:
    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Work

Run: TypeAlias = "Callable[[Work], Any]"
"""Runs a further call of the app as calls are run here: counted, perhaps with a time limit."""


class HeldPieces:
    """The pieces of one response that are not sent yet.

    has_begun  bool: the head is on its way
    outflow    the way of what is sent
    """

    def __init__(self, stream: PulledBody, outflow: Outflow, has_begun: bool) -> None:
        self.has_begun = has_begun
        self._stream = stream
        self.outflow = outflow
        self._lock = new_lock()  # for what follows, and so that what is sent keeps its order
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_seen = False  # the watchdog has found these pieces
        self._is_complete = False  # they are the last
        self._most = 0  # bytes that may be held
        self._pulled_at = 0.0  # when the last piece came

    def hold(self, piece: bytes) -> None:
        with self._lock:
            self._pieces.append(piece)
            self._size += len(piece)

    def pull(self) -> Any:
        """Pull pieces, and hold them while they come without a wait and are few. Return the one that is not held, or
        the end: a Call."""
        self._most, self._pulled_at = min(HIGH_WATER, self.outflow.left), monotonic()
        return self._stream.next_while(self._holds)

    def _holds(self, piece: bytes) -> bool:
        """Hold a piece that has come without a wait, and with which they are few. Return whether it is one."""
        before, self._pulled_at = self._pulled_at, monotonic()
        if self._pulled_at - before >= LOOK or self._size + len(piece) >= self._most:
            return False
        with self._lock:
            self._pieces.append(piece)
            self._size += len(piece)
        return True

    def send(self, piece: bytes | FileSlice) -> None:
        """Send what is held, and `piece`; wait until the client is near. Raises what Outflow.begin() does."""
        if not isinstance(piece, bytes) or not piece:  # an empty one stands for what is on its way: a file, perhaps
            self.end()
            self.outflow.give(piece)
            return
        self.hold(piece)
        self.end()
        self.outflow.wait(HIGH_WATER)

    def end(self) -> None:
        """Send what is held, and wait until the response has begun. Raises what Outflow.begin() does."""
        self.flush()
        self.outflow.wait_begun()

    def flush(self) -> None:
        """Send what is held. Raises ClientGone, AnswerError."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if data := self._take():
            if self.has_begun:
                self.outflow.post(data)
            else:
                self.has_begun, self._stream.first = True, data
                self.outflow.begin_soon(self._stream, len(data))

    def _take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces, self._size, self._is_seen = [], 0, False
        return data

    def complete(self) -> bool:
        """Note that no piece follows. Return False where a part of the response is on its way already."""
        with self._lock:
            self._is_complete = not self.has_begun
            return self._is_complete

    def whole(self) -> GatheredBody | None:
        """Return the whole response; None where a part of it is on its way, or it is not complete."""
        with self._lock:
            if self.has_begun or not self._is_complete:
                return None
            response = self._stream.response
            response.body = self._take()
            return GatheredBody(response)

    def look(self) -> None:
        """Send pieces that were here at the last look, too. Called by the watchdog."""
        with self._lock, suppress(ClientGone, AnswerError):  # which the thread of the call meets
            is_due, self._is_seen = self._is_seen, bool(self._pieces)
            if is_due:
                self._flush()
                if self._is_complete:  # its client need not wait until all is closed
                    self.outflow.post(EndOfBody.COMPLETE)


class Gathering:
    """The responses of which pieces may be held, and the watchdog of these."""

    def __init__(self) -> None:
        self._responses: dict[HeldPieces, None] = {}
        self._is_idle = True
        self._quiet = 0  # looks since there was a response
        self._watchdog = Watchdog(self._look, self._set_idle, "piece-watch")
        self.close = self._watchdog.close

    def add(self, stream: PulledBody, outflow: Outflow, has_begun: bool) -> HeldPieces:
        """Return what holds the pieces of `stream`, until remove()."""
        held = HeldPieces(stream, outflow, has_begun)
        outflow.on_write = held.flush
        self._responses[held] = None
        if self._is_idle:
            self._watchdog.ring()
        return held

    def remove(self, held: HeldPieces) -> None:
        self._responses.pop(held, None)
        held.outflow.on_write = nothing  # the two hold each other

    def _set_idle(self, idle: bool) -> None:
        self._is_idle = idle

    def _look(self) -> float | None:
        """Return the seconds until the next look, or None: sleep until there is a response."""
        responses = list(self._responses)
        for held in responses:
            held.look()
        self._quiet = 0 if responses else self._quiet + 1
        return LOOK if self._quiet < DOZE else None


def is_bound(reply: object) -> bool:
    """Return whether `reply` is a response of which more is to come from the thread that has it.

    PERF: where calls have no limit, look for a PulledBody first: 1,000 of the 53,000 instructions of a request in
    a pool (bench instructions --kinds pool).
    """
    return isinstance(reply, PulledBody) and reply.is_bound and not isinstance(reply.first, EndOfBody)


def runner(calls: Calls, multiplexes: bool) -> Run:
    """Return what runs a call of a peer in this thread, which drives it, and where several of its calls are under way
    if it `multiplexes`. It raises LoopMoved."""
    return partial(_run_of_several, calls) if multiplexes and calls.keeps_threads else calls.here


def _run_of_several(calls: Calls, call: Work) -> Any:
    """Run `call`. A response that is bound to this thread is given from here to its end: the loop moves on, for other
    calls must not come between two of its pieces."""
    reply = calls.here(call)
    if is_bound(reply):
        calls.stay(reply, reply)
    return reply


def answer(
    stream: PulledBody, reply: Any, run: Run, gathering: Gathering | None
) -> EndOfBody | SpooledBody | GatheredBody | Response:
    """Give all of a bound response from this thread, and close it; return what ends it, or all of it where nothing has
    gone out.

    reply     the result of the thread's call: the stream itself, which then begins, or its next piece; b"" where that
              piece is on its way already
    run       raises what ends this at once
    gathering  has pieces that come without a wait sent together; None for each by itself
    """
    outflow: Outflow = stream.outflow
    end = EndOfBody.ABORTED
    held = None
    if gathering is not None and (reply is not stream or (stream.may_be_held and not outflow.has_begun)):
        held = gathering.add(stream, outflow, reply is not stream)
    try:
        try:
            end = _give_all(stream, outflow, reply, run, held)
        except ClientGone:
            pass
        except OSError as error:  # there is no room for a piece
            stream.fail(error)
        except AnswerError as error:  # most often of its head: nothing has gone out
            run(stream.end)
            stream.fail(error)
            outflow.finish(EndOfBody.ABORTED)
            return plain_response(500, "Internal Server Error")
        run(stream.end)
    except BaseException:  # a call that was given up
        outflow.finish(EndOfBody.ABORTED)
        raise
    finally:
        if gathering is not None and held is not None:
            gathering.remove(held)
    whole = None if held is None else held.whole()
    last = outflow.finish(end)
    return last if whole is None else whole


def _give_all(stream: PulledBody, outflow: Outflow, reply: Any, run: Run, held: HeldPieces | None) -> EndOfBody:
    """Give piece after piece, to the end. Raises ClientGone, AnswerError."""
    piece = reply
    if reply is not stream:
        outflow.adopt(stream)
    else:
        piece = stream.first
        if isinstance(piece, FinalPiece):
            stream.first = piece.piece
        elif held is not None:
            held.hold(piece)
            reply = piece = run(held.pull)
    while not isinstance(piece, EndOfBody):
        last = isinstance(piece, FinalPiece)
        if isinstance(piece, FinalPiece):
            piece = piece.piece
        if held is not None:
            held.send(piece)
        elif reply is stream:
            outflow.follow(stream, piece)
        else:
            outflow.give(piece)
        if last or outflow.left <= 0:
            return outflow.complete()
        reply = piece = run(stream.next if held is None else held.pull)
    if held is not None:
        if piece is EndOfBody.COMPLETE and held.complete():
            return piece
        held.end()
    return outflow.complete() if piece is EndOfBody.COMPLETE else piece
