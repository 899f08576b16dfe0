"""Live figures: the work of each worker, past and present, for all processes to see while it serves.

A board is one piece of shared memory, mapped before any process is forked, so that each has it: the supervisor, its
workers, and the process that shows the figures. It is made of rows, each two pages, 1,024 numbers (unsigned, 64
bits, in the machine's own order), and each row has one writer, which needs no lock:

    row 0                       the server's, written by the supervisor: the slots of HEAD below
    rows 1 to PLACES - 1        a worker's each, by its place
    then CHILDREN for each of   children of a worker, as the process model has them: each child writes its own row, a
    the first PARENTS places    later child goes on with the row of one that has ended

So a counter of a worker is the sum over its row and its children's. Counters are never set back, not even for the next
worker in the same place: the difference of two looks is shown. The kernel gives memory to rows that are written only.

A row of a worker, by index (`BYTES_IN` and so on are its names here):

    0 to 5    the worker's state: the supervisor writes STATE PID BORN SILENT, itself ACCEPTING CHILD_ROWS
    6 to 47   gauges and counters; times are nanoseconds of the monotonic clock
    48 to 79  LAG: how long the loop was away from its poller, a counter for each power of two of microseconds:
              LAG + n counts those from 2 ** (n - 1) up to 2 ** n µs, LAG those below one, LAG + 31 all longer ones
    80 to 279 STATUSES: responses of the statuses 400 to 599, a counter each
    592 to 1023 TIMES: response times, 16 counters for each power of two. Of t ns, with v = t >> 6 and
              e = max(0, bit_length(v) - 5), the index is TIMES + min(431, 16 * e + (v >> e)): 64 ns wide up to 2 µs,
              then at most 1/16 of the time; the last counts all from 66 s on

The writer may be C code, with a pointer: there is no Python object in a row. The threads of a worker share its row:
`cells[i] = (cells[i] + n) & _WORD` is one step as far as other threads are concerned, since the interpreter hands over
between calls and jumps only (so `n` must be a plain value: a call there would come between the reading and the
writing). On a Python without a GIL two threads that count at once may count as one.

A worker runs the app's code, and may be taken over: then any number may stand anywhere on the board. So a reader takes
no number of it as an index or a count without a bound, and no process depends on what it finds there. Counters wrap
around, as in C.

A response time here is from the report of a request's first byte to the loop until the last byte of its response was
given to the kernel. No server can know how long a request waited in the kernel before that.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from allcomers.protocol import compiled

SLOTS: Final = 1024
SIZE: Final = SLOTS * 8

_WORD: Final = (1 << 64) - 1
ONE_LESS: Final = _WORD
"""What is added to a gauge to take one off: words are unsigned, and overflow."""

PLACES: Final = 1024
"""Rows for the server and its workers; the figures of a worker beyond them are not shown."""

PARENTS: Final = 16
CHILDREN: Final = 256
"""Children that have rows of their own: those beyond, or of further workers, share, and may count as one."""

# ------------------------------------------------------------ HEAD: the server's row

STAGE: Final = 0
"""The stage of its life: one of the STAGES."""
LEAVING_SOON: Final = 1
"""1 while all workers close connections with their next responses."""
BEAT: Final = 2
"""When the supervisor last went round, in nanoseconds of the monotonic clock."""
HIGHEST: Final = 3
"""Rows 1 to this one have had a worker."""
SCHEMES: Final = ("", "http", "https", "tcp", "tls")
WANTED: Final = 4
"""The number of workers that there are to be."""
SCHEME: Final = 5
"""The scheme of the addresses: an index of SCHEMES."""

RELOAD: Final = 6
"""The last reload: one of the RELOADS."""
RELOAD_AT: Final = 7
"""When it began, in nanoseconds of the monotonic clock."""
RELOAD_LEFT: Final = 8
"""The number of workers that it has still to replace."""

RELOADS: Final = ("none", "running", "done", "given up", "refused")
"""given up: a new worker ended before it served, so the old ones stay; refused: an option was wrong."""
RELOADING, RELOADED, GIVEN_UP, REFUSED = range(1, 5)

LEAST: Final = 9
MOST: Final = 10
"""The range of WANTED, by demand; 0 where it is fixed."""
SCALED: Final = 11
"""The reason of the last change of WANTED: one of SCALES."""
SCALED_AT: Final = 12
"""When that was, in nanoseconds of the monotonic clock."""
SCALED_BY: Final = 13
"""1 where it was one worker more, 0 where it was one less."""

DIED: Final = 14
"""Workers that ended by themselves."""
REPLACED: Final = 15
"""Workers that were replaced because of a signal, their age, or because they hung; not by a reload."""

SCALES: Final = ("none", "signal", "busy", "waiting", "idle")
"""signal: TTIN or TTOU; busy: the workers were; waiting: calls or peers did; idle: the others carry the load."""
UNSCALED, BY_SIGNAL, BUSY, WAITING, IDLE = range(5)

STARTING, SERVING, LEAVING, DRAINING = range(4)
STAGES: Final = ("starting", "serving", "leaving", "draining")

# ------------------------------------------------------------ a worker's row

STATE: Final = 0
"""One of the STATES."""
PID: Final = 1
BORN: Final = 2
"""When it was started, in nanoseconds of the monotonic clock."""
SILENT: Final = 3
"""Milliseconds since a ping that it has not answered."""
ACCEPTING: Final = 4
"""1 while it accepts peers."""
CHILD_ROWS: Final = 5
"""The number of its children's rows that have been used."""

FREE, NEW, READY, GOING = range(4)
STATES: Final = ("free", "starting", "ready", "leaving")

CONNECTIONS: Final = 6
"""A gauge: open now, the concurrent users."""
ACCEPTED: Final = 7
"""Connections that were accepted and served."""
REQUESTS: Final = 8
"""Requests, or a service's messages, that have arrived."""
ANSWERED: Final = 9
"""Requests answered in full, by class: ANSWERED + 2 counts 200 to 299; ANSWERED itself a service's, and 600 to 999."""
ABORTED: Final = 15
"""Requests that never will be: the peer left, or was too slow to receive its response."""
BYTES_IN: Final = 16
BYTES_OUT: Final = 17
"""As the sockets carried them: with heads, and of TLS its records."""
CALLS: Final = 18
"""Calls of the app; the steps of a response that is an iterable are calls, too."""
APP_TIME: Final = 19
"""The time that they took; an async app's, until its response was queued."""
WAIT_TIME: Final = 20
"""The time for which they had waited, for the loop or for a thread."""
QUEUED: Final = 21
"""Calls that were given to other threads."""
DEQUEUED: Final = 22
"""Of these, those that a thread has started: the others wait."""
TURNS: Final = 23
"""Turns of the loop: each handles what the poller reported at once."""
BUSY_TIME: Final = 24
"""The time that they took."""
HAND_OVERS: Final = 25
"""Moves of the loop to another thread, away from a call that lasts (--calls auto)."""
POOLED: Final = 26
"""A gauge: 1 while --calls auto gives its calls to the pool."""
RESPONSE_TIME: Final = 27
"""The sum of the response times."""
MODEL: Final = 28
"""The model, as the models' table has them, from 1 on; 0 before it is known."""
WHERE: Final = 29
"""The place where calls run: one of WHERES."""
SHED: Final = 30
"""Requests refused by overload, with 503, and peers that a blocking model refused."""
DROPPED_CALLS: Final = 31
"""Calls that waited for a thread and never began: nobody waited for them any more, or the worker ended."""
WHERES: Final = ("", "inline", "pool", "auto")
KIND: Final = 32
"""The interface of the app: an index of KINDS."""
KINDS: Final = ("", "service", "web", "wsgi", "asgi", "asgi2", "joined")
SURPLUS: Final = 33
"""Clients that it is to let go, for workers that have fewer: the supervisor writes it, and the worker clears it."""
HTTP2_CONNECTIONS: Final = 34
"""A gauge: of CONNECTIONS, those that use HTTP/2."""

MEMORY_HELD: Final = 40
"""A gauge: bytes of memory held for peers (ledger.py)."""
SPOOL_HELD: Final = 41
"""A gauge: bytes in temporary files."""
MEMORY_FULL: Final = 42
"""1 while new requests are refused, as this process saw it last."""
HELD_REFUSED: Final = 43
"""Requests refused because of what all peers hold."""
HELD_CUT: Final = 44
"""Peers ended because they held most."""
MEMORY_LIMIT: Final = 45
SPOOL_LIMIT: Final = 46
"""The bounds of MEMORY_HELD and SPOOL_HELD, over all rows."""
CLIENT: Final = 47
"""Of a child: the number of its client, where connections are counted by client (client_counts.py); else 0."""

CLASSES: Final = 6
LAG: Final = 48
LAGS: Final = 32
STATUSES: Final = 80
FAILURES: Final = range(400, 600)
"""The statuses that are counted one by one: status s in slot STATUSES + s - 400."""
TIMES: Final = 592
BUCKETS: Final = SLOTS - TIMES


class CounterBoard:
    """All rows. Make it before the first fork, in the process that forks."""

    def __init__(self) -> None:
        self.cells = memoryview(mmap.mmap(-1, (PLACES + PARENTS * CHILDREN) * SIZE)).cast("Q")
        self.head = self.row(0)

    def row(self, number: int) -> memoryview[int]:
        return self.cells[number * SLOTS : (number + 1) * SLOTS]

    def child_row(self, place: int, child: int) -> memoryview[int]:
        """Return the row of a worker's child, counted from 0."""
        parent = (place - 1) % PARENTS
        return self.row(PLACES + parent * CHILDREN + child % CHILDREN)

    def column(self, slot: int) -> memoryview[int]:
        """Return this slot of all places that have had a worker."""
        return self.cells[SLOTS + slot : (self.highest + 1) * SLOTS : SLOTS]

    @property
    def highest(self) -> int:
        """The last row that has had a worker."""
        return min(self.head[HIGHEST], PLACES - 1)

    def rows(self, place: int) -> list[memoryview[int]]:
        """Return the row of the worker in this place, then those of its children."""
        own = self.row(place)
        return [own, *(self.child_row(place, child) for child in range(min(own[CHILD_ROWS], CHILDREN)))]

    def shares(self, slot: int) -> list[int]:
        """Return this slot of all rows that are in use, but for the server's."""
        shares = list(self.column(slot))
        for place, children in enumerate(self.column(CHILD_ROWS), 1):
            if children:
                shares += (row[slot] for row in self.rows(place)[1:])
        return shares

    def answered(self, place: int) -> int:
        """Return the requests that the workers in this place have answered since the server started."""
        return sum(sum(row[ANSWERED : ANSWERED + CLASSES]) for row in self.rows(place))


class PlainCounterRow:
    """The row that this process writes. `CounterRow` is this, or the same compiled.

    cells    its numbers; may be replaced by another row's
    answers  the sum of all that were answered
    """

    __slots__ = ("cells",)

    def __init__(self, cells: memoryview[int] | None = None) -> None:
        self.cells = memoryview(bytearray(SIZE)).cast("Q") if cells is None else cells

    def add(self, slot: int, count: int = 1) -> None:
        """Add `count` to one of the slots below LAG."""
        self.cells[slot] = (self.cells[slot] + count) & _WORD

    @property
    def answers(self) -> int:
        return sum(self.cells[ANSWERED : ANSWERED + CLASSES])

    def answered(self, status: int, seconds: float) -> None:
        """Count a response that has gone out; status 0 for a service's."""
        cells = self.cells
        of_class = ANSWERED + (status // 100 if status < 600 else 0)
        cells[of_class] = (cells[of_class] + 1) & _WORD
        if status in FAILURES:
            of_status = STATUSES + status - FAILURES[0]
            cells[of_status] = (cells[of_status] + 1) & _WORD
        time = nanoseconds(seconds)
        cells[RESPONSE_TIME] = (cells[RESPONSE_TIME] + time) & _WORD
        of_time = TIMES + bucket(time)
        cells[of_time] = (cells[of_time] + 1) & _WORD

    def called(self, wait: float, app: float, count: int = 1) -> None:
        """Count a call of the app that has waited and lasted so many seconds; `count` is 0 for a part of one."""
        cells = self.cells
        cells[CALLS] = (cells[CALLS] + count) & _WORD
        wait_time = nanoseconds(wait)
        cells[WAIT_TIME] = (cells[WAIT_TIME] + wait_time) & _WORD
        app_time = nanoseconds(app)
        cells[APP_TIME] = (cells[APP_TIME] + app_time) & _WORD

    def loop_turn(self, seconds: float) -> None:
        """Count a turn of the loop that took so long."""
        cells = self.cells
        time = nanoseconds(seconds)
        cells[TURNS] = (cells[TURNS] + 1) & _WORD
        cells[BUSY_TIME] = (cells[BUSY_TIME] + time) & _WORD
        lag = LAG + min(LAGS - 1, (time >> 10).bit_length())
        cells[lag] = (cells[lag] + 1) & _WORD


def nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9) if 0 < seconds < 1e9 else 0


def named(names: Sequence[str], index: int) -> str:
    """Return the name that a cell stands for; the first for a number that stands for none: a worker writes any."""
    return names[index] if index < len(names) else names[0]


def bucket(time: int) -> int:
    """Return the index in TIMES of a response time in nanoseconds."""
    value = time >> 6
    exponent = value.bit_length() - 5
    if exponent <= 0:
        return value
    return min(BUCKETS - 1, 16 * exponent + (value >> exponent))


def bucket_start(index: int) -> int:
    """Return the shortest time, in nanoseconds, that this bucket counts."""
    exponent = max(0, index // 16 - 1)
    return (index - 16 * exponent) << exponent + 6


if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.system._counters import CounterRow as CounterRow
else:
    CounterRow = PlainCounterRow
