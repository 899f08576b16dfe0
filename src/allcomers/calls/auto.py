"""Auto: calls run inline for as long as they are short; a loop does not wait for one that lasts, it moves on.

    inline    a call runs on the loop's own thread, as under `inline`: no hand-over.
    moving    a watchdog looks every millisecond, and ten times as often where calls have been found to wait. When it
              sees a call at two looks, the loop goes on in another thread, as Go's scheduler takes a processor from a
              goroutine that blocks. The call stays where it is; when it is over, its thread posts the result as a
              thread of the pool does, and waits for the next job.
    pool      when slow calls are the rule (leaky_bucket.py), each goes to another thread at once, until they are quick
              again.

A response that is an iterable stays in the thread of its call (giving.py). One that began in the loop's thread is
pulled there for as long as each piece is there at once and goes out at once. When it has to wait, for its next piece or
for its client, the loop moves on, and the thread stays with that response to its end.

A loop that cannot move (asyncio's: its frames are on the stack of its thread) is spared the second: after the first
slow call it has the pool, until a thousand in a row were quick; after the first response that has to wait, for good.

Ownership decides which thread has the loop: the one whose call ends, or the watchdog, whichever is first. That is all
that a call costs. Compiled code that runs calls itself, as the fast path does, does what here() does.

`threads` calls run at once at most, wherever they do, and one thread more has the loop: a call runs inline only if
there is a thread to move on to, else it waits as under `pool`. The main thread runs neither calls nor the loop. It
waits for the end, so that the process ends in time whatever its calls do, and handlers of signals run at once; the
signals that the server acts on arrive through a pipe, in whichever thread has the loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import get_native_id
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers.calls.giving import answer, is_bound
from allcomers.calls.leaky_bucket import LeakyBucket
from allcomers.calls.overload.admission import Admission
from allcomers.calls.ownership import Ownership
from allcomers.calls.pool import Done, ThreadPool
from allcomers.calls.watchdog import DOZE, LOOK, Watchdog
from allcomers.connection.call import FAILED
from allcomers.connection.http.response_body import PulledBody
from allcomers.errors import LoopMoved
from allcomers.system import faults
from allcomers.system.counters import HAND_OVERS, POOLED, CounterRow
from allcomers.system.native.primitives import SimpleQueue, get_ident
from allcomers.system.native.threads import Event
from allcomers.system.processes import forks
from allcomers.system.processes.forks import new_lock

if TYPE_CHECKING:
    from allcomers.calls.protocols import MovableLoop, Parts, PoolLimit
    from allcomers.connection.base import Work

KEEN: Final = 0.0001
"""The same, once calls have been found to wait: until the loop moves on, all wait for such a call. A look costs some
5 µs, which is too much of this where no call waits."""

SOON: Final = 0.00002
"""The same, where the watchdog is keen and sees a call for the first time: a look needs the interpreter, so the call
has given that up, and most likely waits."""

KEENLY: Final = 250
"""Looks after the last call that waited, for which the watchdog is keen: they cost what they spare the next, a good
millisecond."""

COMPUTES: Final = 0.02
"""Seconds for which a call may compute, rather than wait, before the loop moves on: until then that gains nothing, for
the interpreter runs one thread at a time (sys.getswitchinterval() is a quarter of it)."""

WARY: Final = 1000
"""Quick calls after which a loop that cannot move runs them inline again."""


class Auto:
    """Calls for a loop; under the blocking models, inline ones."""

    counts = False
    is_limited = False

    def __init__(
        self,
        threads: int,
        counters: CounterRow,
        admission: Admission | None = None,
        limit: PoolLimit | None = None,
        gathers: bool = True,
    ) -> None:
        self._watchdog = _CallWatch(self)
        self.ownership = Ownership(self._watchdog.ring)
        self._threads = threads
        self._counters = counters
        self._loop: MovableLoop | None = None
        self.owner = get_ident()  # the thread that has the loop, or is about to run it
        self._fixed = False  # the loop stays where it is: it cannot move, and a response in its thread has had to wait
        self._streams = (
            False  # no call runs there any more, for such a response must not come between two of its pieces
        )
        self._pool = ThreadPool(threads, counters, limit, self._observe, admission, gathers)
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._unwatched = Event()  # the watchdog looks at no thread any more
        self._lock = new_lock()  # for what follows
        self._pace = LeakyBucket(weight=WARY, half=1)
        self._slowest = 0  # of the calls that began inline, the number of the last that was slow
        # Calls detached from the loop, by thread id: (callback, approximate start time).
        self._left: dict[int, tuple[Done, float]] = {}
        self._busy = 0  # those, and the ones that were submitted and are not over
        self._decide()

    # ------------------------------------------------------------ calls

    @property
    def keeps_threads(self) -> bool:
        return not self._fixed

    @property
    def inline(self) -> bool:
        return self.ownership.inline

    def here(self, work: Work) -> Any:
        """Run `work` in this thread. Raises LoopMoved when the loop has moved on; then the result has been posted."""
        ownership = self.ownership
        number = ownership.begin()
        try:
            reply = work()
        except BaseException as error:  # no call raises; if one does, it has ended, and the loop may have moved on
            faults.report(error, "a call raised")
            reply = FAILED
        if not ownership.end(number):
            self._answer_late(reply if isinstance(reply, PulledBody) else getattr(work, "owner", None), reply)
            raise LoopMoved
        return reply

    def answer_late(self, reply: Any, stream: Any = None) -> None:
        """Post the result of a call in a thread that has lost the loop, a piece of `stream` perhaps. The caller then
        raises LoopMoved."""
        self._answer_late(reply if stream is None else stream, reply)

    def _answer_late(self, stream: Any, reply: Any) -> None:
        """Post `reply`. `stream` is what has returned it, or `reply` itself, if that stays in this thread."""
        with self._lock:  # held by the thread that has moved the loop, until it has noted this call
            _, started = self._left[get_ident()]
        self._counters.called(0.0, monotonic() - started)
        if is_bound(stream) and reply is not None:
            reply = answer(stream, reply, self._call_further, self._pool.gathering)
        self._post_late(reply)

    def _post_late(self, reply: Any) -> None:
        """Post the result of the call that was detached in this thread."""
        with self._lock:
            done, _ = self._left.pop(get_ident())
            self._end()
        done(reply)

    def stay(self, stream: PulledBody, reply: Any) -> None:
        """Give a response that began in this thread, the loop's, and must wait. Raises LoopMoved when all is given."""
        number = self.ownership.begin()
        if self.release_loop():
            self._post_late(answer(stream, reply, self._call_further, self._pool.gathering))
            raise LoopMoved
        self.ownership.end(number)
        with self._lock:
            self._fixed = True
            # Where it could move, the system has no thread left for such calls, either.
            self._streams = self._loop is None or self.is_limited
            self._decide()

    def _call_further(self, work: Work) -> Any:
        """Run a further call of a response that stays in this thread, which has lost the loop."""
        return self._pool.call(work)

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        """Run `work` in this thread, which is its peer's own."""
        return work()

    @contextmanager
    def away(self) -> Iterator[None]:
        with self._lock:
            self._end()
        try:
            with self._pool.away():
                yield
        finally:
            with self._lock:
                self._busy += 1
                self._decide()

    def lift_limit(self, thread: int) -> None:
        """Ignore: there is no limit."""

    def release_loop(self) -> bool:
        """Move the loop on, if this is its thread and another is free. Return whether this thread may block."""
        with self._lock:
            owns = get_ident() == self.owner and get_ident() not in self._left
            moves = owns and self._leave(monotonic())
        if moves:
            self._pool.execute(self._run_loop)
        return moves or not owns

    def submit(self, work: Work, done: Done) -> None:
        """Run `work` in another thread."""
        with self._lock:
            self._busy += 1
            self._decide()
        self._pool.submit(work, partial(self._post, done))

    def _observe(self, lasted: float) -> None:
        """Note how long a call in another thread took."""
        with self._lock:
            if lasted >= LOOK:
                self._pace.slow()
            else:
                self._pace.quick()

    def _post(self, done: Done, reply: Any) -> None:
        """Report the result of a call in another thread."""
        with self._lock:
            self._end()
        done(reply)

    def _end(self) -> None:
        """Count a call as over, before its result is reported: so the next finds a place. Called with the lock held."""
        self._busy -= 1
        self._decide()

    def _decide(self) -> None:
        """Decide where the next call runs. Called with the lock held."""
        # Under a loop that cannot move the client of a call that hangs is answered only where that has another thread.
        are_slow = self._pace.are_slow or self._streams or (self.is_limited and self._loop is None)
        self.ownership.inline = not are_slow and self._busy < self._threads
        self._counters.cells[POOLED] = are_slow

    def close(self) -> None:
        self._watchdog.close()
        self._unwatched.set()
        self._pool.close()

    # ------------------------------------------------------------ the loop

    def host(self, loop: MovableLoop) -> None:
        """Run `loop` in threads of the pool; return when it ends. Raises what it raises."""
        self._loop = loop
        self._pace = LeakyBucket()
        self._pool.resize(1)
        self._pool.reserve()
        with self._lock:
            self._decide()
        self._pool.execute(self._run_loop)
        error = self._ended.get()
        if error is not None:
            raise error

    def _run_loop(self) -> None:
        """Run the loop in this thread, until it ends or moves on."""
        loop = self._loop
        assert loop is not None
        self.owner = get_ident()
        error: BaseException | None = None
        try:
            loop.run()
        except LoopMoved:
            return
        except BaseException as raised:
            if forks.is_copy:
                forks.leave()
            error = raised
        self._ended.put(error)
        with self._lock:
            self._loop = None
        self._unwatched.wait()  # the watchdog may look at this thread still: until then it must not end

    def _leave(self, started: float) -> bool:
        """Detach the loop from its thread, which is in a call since `started`. Return False where it cannot go on in
        another, or the call is over. Called with the lock held; the caller then starts it, without the lock."""
        loop = self._loop
        if loop is None or self._fixed or not self._pool.reserve():
            return False
        if not self.ownership.take():
            self._pool.cancel()
            return False
        self._left[self.owner] = loop.leave(), started
        self._counters.add(HAND_OVERS)
        self._busy += 1
        self._decide()
        return True

    def found_slow(self, number: int, started: float, waits: bool) -> bool:
        """Move the loop away from the call of this number, if it still runs. Return whether this is the first report
        that it waits. Called by the watchdog."""
        with self._lock:
            is_first = waits and number != self._slowest
            if is_first:
                self._pace.quick(number - self._slowest - 1)
                self._pace.slow()
                self._slowest = number
            self._decide()
            moves = self._leave(started)
        if moves:
            self._pool.execute(self._run_loop)
        return is_first


class _CallWatch:
    """The watchdog of a loop's calls: it looks for one that lasts, and reports it to Auto."""

    def __init__(self, auto: Auto) -> None:
        self._auto = auto
        self._seen = 0  # the number of the call that was found at the last look
        self._since = self._used = 0.0  # when that was, and how much CPU its thread had used
        self._quiet = 0  # looks since a call was seen
        self._keen = 0  # looks for which it is keen still
        watchdog = Watchdog(self._look, self._set_idle, "call-watch")
        self.ring, self.close = watchdog.ring, watchdog.close

    def _set_idle(self, idle: bool) -> None:
        self._auto.ownership.dozing = idle

    def _look(self) -> float | None:
        """Return the seconds until the next look, or None: sleep until a call begins."""
        ownership = self._auto.ownership
        self._keen -= self._keen > 0
        ownership.flush_held()
        if ownership.started_count != self._seen:
            self._seen, self._quiet = ownership.started_count, 0
            self._since, self._used = monotonic(), cpu_of(self._auto.owner)
            if self._keen and ownership.runs:
                return SOON
        elif ownership.runs:
            lasted = monotonic() - self._since
            waits = cpu_of(self._auto.owner) - self._used < lasted / 2
            if (waits or lasted >= COMPUTES) and self._auto.found_slow(self._seen, self._since, waits):
                if not self._keen:
                    wake_on_time()
                self._keen = KEENLY
        elif self._quiet < DOZE:
            self._quiet += 1
        else:
            return None
        return KEEN if self._keen else LOOK


def wake_on_time() -> None:
    """Have the sleeps of this thread, and of those that it starts, end on time, not up to 50 µs late
    (proc_pid_timerslack_ns(5); Linux)."""
    with suppress(OSError):
        Path(f"/proc/{get_native_id()}/timerslack_ns").write_text("1")


def cpu_of(ident: int) -> float:
    """Return the seconds of CPU that a thread has used; 0 where the system does not report them (macOS)."""
    clock = getattr(time, "pthread_getcpuclockid", None)
    return time.clock_gettime(clock(ident)) if clock else 0.0
