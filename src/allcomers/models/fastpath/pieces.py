"""The pieces of a response, on their way without the steps of its connection.

The connection frames a piece, the socket most often takes it whole, and nothing else has changed: neither what the
connection wants nor its deadline. So it is told only what is left for it to do: to send what the socket has not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers.connection.base import CALLED
from allcomers.connection.call import PENDING
from allcomers.system import nonblocking
from allcomers.system.counters import BYTES_OUT

if TYPE_CHECKING:
    from allcomers.connection.base import Connection
    from allcomers.connection.call import Call

STEP: Final = 4096
"""Bytes that each step counts for beside those it moves: 64 small requests, or pieces, are a turn, too."""


def report(conn: Connection, call: Any, reply: Any, now: float) -> None:
    """Report the reply of a call that ran here."""
    if reply is PENDING:
        conn.consumed(call, now)
    else:
        conn.answered(call, reply, now)


def send_piece(conn: Connection, fd: int, piece: bytes) -> bytes | None:
    """Send a piece that the call which runs has given, where nothing waits before it.

    Return None where the socket has taken it whole, and that call goes on; else the reply to report for it: `piece`
    itself, or b"" where the connection has the end of it to send. An error is met again then.
    """
    body, codec = conn.stream, conn.codec
    if body is None or conn.phase is not CALLED or codec.pending:
        return piece
    data = body.framed_bytes(piece)
    if not data:
        return None
    try:
        sealed = codec.seal(data)
    except OSError:
        codec.push(data)
        return b""
    count = 0
    try:
        count = nonblocking.send(fd, sealed)
        conn.counters.add(BYTES_OUT, count)
    except OSError:
        pass
    if count == len(sealed):
        return None
    codec.keep(sealed[count:])
    return b""


def takes_turns(conn: Connection) -> bool:
    """Return whether others have their turn between two pieces of this response, of which the next may last, too.

    Not where it ends by itself: an app may keep in this thread what its pieces need, such as a database connection, and
    close that for another request.
    """
    return conn.stream is not None and conn.stream.is_endless


def pull_pieces(
    conn: Connection, fd: int, call: Call, here: Callable[[Call], Any], now: float, left: int, until: float
) -> tuple[Any, float, int]:
    """Run `call`, which gives a further piece, again and again while the socket takes them: up to `left` bytes, and
    `until` then. Return the reply to report for it, the time after it, and the bytes."""
    moved, reply = 0, None
    while reply is None:
        started, due = monotonic(), now
        reply = here(call)
        now = monotonic()
        conn.counters.called(started - due, now - started)
        if type(reply) is bytes:
            moved += STEP + len(reply)
            reply = send_piece(conn, fd, reply)
            if reply is None and (moved >= left or now >= until):
                reply = b""
    return reply, now, moved
