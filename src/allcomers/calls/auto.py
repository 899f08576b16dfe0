"""Auto: calls run inline for as long as they are short; a loop does not wait for one that lasts, it moves on.

    inline    a call runs on the loop's own thread, as under `inline`: nothing is handed over.
    moving    a watcher looks every millisecond, and five times as often where calls have been found to wait. When it
              sees a call at two looks, the loop goes on in another thread, as Go's scheduler takes a processor from a
              goroutine that blocks. The call stays where it is; when it is over, its thread posts the answer as a
              thread of the pool does, and waits for something to do.
    pool      when slow calls are the rule (`pace`), each goes to another thread at once, until they are quick again.

An answer that is an iterable stays in the thread of its call (producer.py). One that was begun in the loop's thread is
pulled there for as long as each piece is there at once and goes out at once. When it has to wait, for its next piece or
for its client, the loop moves on, and the thread stays with that answer to its end.

A loop that cannot move (asyncio's: its frames are on the stack of its thread) is spared the second: after the first
slow call it has the pool, until a thousand in a row were quick; after the first answer that has to wait, for good.

Who has the loop is decided by the claim: the thread whose call ends, or the watcher, whoever is first. That is all that
a call costs. Compiled code that runs calls itself, as the express lane does, does what here() does.

`threads` calls run at once at most, wherever they do, and one thread more has the loop: a call runs inline only if
there is a thread to move on to, else it waits as under `pool`. The main thread runs neither calls nor the loop. It
waits for the end, so that the process ends in time whatever its calls do, and handlers of signals run at once; the
signals that are orders arrive through a pipe, in whichever thread has the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from allcomers.calls.leaky_bucket import LeakyBucket
from allcomers.calls.ownership import Ownership
from allcomers.calls.producer import answer, is_bound
from allcomers.calls.queue import WorkQueue
from allcomers.connection.base import Work
from allcomers.connection.http.response_body import PulledBody
from allcomers.errors import LoopMoved
from allcomers.system.counters import DEQUEUED, HAND_OVERS, POOLED, QUEUED, CounterRow

LOOK: Final = 0.001
"""Seconds between two looks of the watcher; a call that runs at two of them is slow."""

KEEN: Final = 0.0002
"""The same, once calls have been found to wait: until the loop moves on, all wait for such a call. A look costs some
5 µs, which is too much of this where no call waits."""

KEENLY: Final = 250
"""Looks after the last call that waited, for which the watcher is keen: they cost what they spare the next, a good
millisecond."""

COMPUTES: Final = 0.02
"""Seconds for which a call may compute, rather than wait, before the loop moves on: until then that gains nothing, for
the interpreter runs one thread at a time (sys.getswitchinterval() is a quarter of it)."""

DOZE: Final = 50
"""Looks without a call after which the watcher sleeps until one begins."""

WARY: Final = 1000
"""Quick calls after which a loop that cannot move takes them inline again."""


Call: TypeAlias = tuple[Work, Callable[[Any], object], float]
"""What is to run in another thread than the loop's, who is told its answer, and since when it waits."""


class MovableLoop(Protocol):
    """A loop that may move from one thread to another (models/readiness.py)."""

    def run(self) -> None:
        """Serve until it is over, or until here() has raised LoopMoved."""
        ...

    def leave(self) -> Callable[[Any], object]:
        """Its thread stays in a call; what takes the answer to that one. Then run() goes on in another thread."""
        ...


class Auto:
    """Calls for a loop; under the blocking models, inline ones."""

    def __init__(self, threads: int, counters: CounterRow) -> None:
        self.ownership = Ownership(self._ring)
        self._threads = threads
        self._counters = counters
        self._loop: MovableLoop | None = None
        self._owner = get_ident()  # the thread that has the loop, or begins to
        self._pace = LeakyBucket(weight=WARY, half=1)
        self._fixed = False  # the loop stays where it is: it cannot move, and an answer in its thread has had to wait
        self._streams = False  # no call runs there any more, for such an answer must not come between two of its pieces
        self._slowest = 0  # of the calls begun inline, the last that was slow
        self._keen = 0  # looks for which the watcher is
        self._jobs: WorkQueue[Call | MovableLoop] = WorkQueue()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._bell: threading.Event | None = None  # none before the first call
        self._lock = threading.Lock()  # for what follows, and the pace
        # Of the calls that were left behind, by thread: who is told the answer, and when they began, about.
        self._left: dict[int, tuple[Callable[[Any], object], float]] = {}
        self._busy = 0  # those, and the ones that were submitted and are not over
        self._live = 0  # threads there are
        self._free = 0  # of them, those that wait; less than 0: so many jobs wait

    counts = False

    # ------------------------------------------------------------ for who has calls

    @property
    def keeps_threads(self) -> bool:
        return not self._fixed

    @property
    def inline(self) -> bool:
        """Is the next call to run here()?"""
        return self.ownership.inline

    def here(self, work: Work) -> Any:
        """Run it in this thread. Raises LoopMoved when the loop has moved on; then the answer has been posted."""
        ownership = self.ownership
        number = ownership.begin()
        reply = work()
        if not ownership.end(number):
            self._answer_late(reply if isinstance(reply, PulledBody) else getattr(work, "owner", None), reply)
            raise LoopMoved
        return reply

    def answer_late(self, reply: Any) -> None:
        """In a thread that has lost the loop: what its call returned. Raise LoopMoved then."""
        self._answer_late(reply, reply)

    def _answer_late(self, stream: Any, reply: Any) -> None:
        """`stream`: what has returned `reply`, or that itself, if it is one that stays in this thread."""
        with self._lock:  # who has taken the loop away notes it while it holds this
            _, began = self._left[get_ident()]
        self._counters.called(0.0, monotonic() - began)
        if is_bound(stream) and reply is not None:
            reply = answer(stream, reply, self._run_further)
        self._report_late(reply)

    def _report_late(self, reply: Any) -> None:
        """The call that was left behind in this thread has answered."""
        with self._lock:
            done, _ = self._left.pop(get_ident())
            self._end()
        done(reply)

    def stay(self, stream: PulledBody) -> None:
        """An answer that was begun in this thread, the loop's, has to wait. Raises LoopMoved when it is given."""
        number = self.ownership.begin()
        if self.release_loop():
            self._report_late(answer(stream, b"", self._run_further))
            raise LoopMoved
        self.ownership.end(number)
        with self._lock:
            self._fixed = True
            self._streams = self._loop is None  # else the system has no thread left for such calls, either
            self._decide()

    def run(self, work: Work) -> Any:
        """Run it in this thread, which is its peer's own."""
        return work()

    def lift_limit(self, thread: int) -> None:
        """There is none."""

    def release_loop(self) -> bool:
        """The loop goes on elsewhere, where there is a thread for it, while this one's call waits."""
        with self._lock:
            owns = get_ident() == self._owner and get_ident() not in self._left
            moving = self._leave(monotonic()) if owns else None
        self._go_on(moving)
        return moving is not None or not owns

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        """Run it in another thread."""
        with self._lock:
            self._busy += 1
            self._free -= 1
            self._start_if_short()
            self._decide()
        self._counters.add(QUEUED)
        self._jobs.put((work, done, monotonic()))

    def host(self, loop: MovableLoop) -> None:
        """Have `loop` run in threads of this; the caller waits until it is over. Raises what it raises."""
        self._loop = loop
        self._pace = LeakyBucket()
        with self._lock:
            self._free -= 1
            self._start_if_short()
        self._jobs.put(loop)
        error = self._ended.get()
        if error is not None:
            raise error

    # ------------------------------------------------------------ threads

    def _start_if_short(self) -> bool:
        """Is there a thread for each job? Start one where not. With the lock held."""
        if self._free >= 0:
            return True
        if self._live >= self._threads + (self._loop is not None):
            return False
        self._jobs.open()
        try:
            # A daemon: a call that never returns must not keep a process that was told to stop.
            threading.Thread(target=self._serve, name=f"call-{self._live}", daemon=True).start()
        except RuntimeError:  # the system has none left: those there are must do
            return False
        self._live += 1
        self._free += 1
        return True

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            if isinstance(job, tuple):
                self._run_call(*job)
            elif self._run_loop(job):
                threading.Event().wait()  # the watcher may look at this thread still: it must not end
            del job  # while it waits, a thread must not keep the last request alive

    def _run_call(self, work: Work, done: Callable[[Any], object], due: float) -> None:
        began = monotonic()
        self._counters.add(DEQUEUED)
        reply = work()
        lasted = monotonic() - began
        self._counters.called(began - due, lasted)
        with self._lock:
            if lasted >= LOOK:
                self._pace.slow()
            else:
                self._pace.quick()
        if type(reply) is PulledBody and is_bound(reply):
            reply = answer(reply, reply, self._run_further)
        with self._lock:
            self._free += 1
            self._end()
        done(reply)

    def _run_further(self, work: Work) -> Any:
        """Run a further call of an answer that this thread gives."""
        began = monotonic()
        reply = work()
        self._counters.called(0.0, monotonic() - began)
        return reply

    def _end(self) -> None:
        """A call is over. With the lock held; and before it is answered, so that the next finds a place."""
        self._busy -= 1
        self._decide()

    def _decide(self) -> None:
        """Where the next call is to run. With the lock held."""
        are_slow = self._pace.are_slow or self._streams
        self.ownership.inline = not are_slow and self._busy < self._threads
        self._counters.cells[POOLED] = are_slow

    # ------------------------------------------------------------ the loop

    def _run_loop(self, loop: MovableLoop) -> bool:
        """Is it over?"""
        self._owner = get_ident()
        try:
            loop.run()
        except LoopMoved:
            with self._lock:
                self._free += 1
            return False
        except BaseException as error:
            self._ended.put(error)
        else:
            self._ended.put(None)
        with self._lock:
            self._live -= 1
            self._loop = None
        return True

    def _leave(self, began: float) -> MovableLoop | None:
        """The loop, if it is to go on in another thread, for its own is in a call still. With the lock held."""
        loop = self._loop
        if loop is None or self._fixed:
            return None
        self._free -= 1
        if not (self._start_if_short() and self.ownership.take()):
            self._free += 1
            return None
        self._left[self._owner] = loop.leave(), began
        self._counters.add(HAND_OVERS)
        self._busy += 1
        self._decide()
        return loop

    def _go_on(self, moving: MovableLoop | None) -> None:
        """Without the lock: this wakes a thread."""
        if moving is not None:
            self._jobs.put(moving)

    # ------------------------------------------------------------ the watcher

    def _ring(self) -> None:
        """Wake the watcher; the first time, make it."""
        with self._lock:
            bell = self._bell or threading.Event()
            if self._bell is None:
                try:
                    threading.Thread(target=self._watch, args=(bell,), name="call-watch", daemon=True).start()
                except RuntimeError:  # the system has none left: the next call tries again
                    return
                self._bell = bell
            self.ownership.dozing = False
        bell.set()

    def _watch(self, bell: threading.Event) -> None:
        ownership = self.ownership
        seen = quiet = 0
        since = used = 0.0
        while True:
            time.sleep(KEEN if self._keen else LOOK)
            self._keen -= self._keen > 0
            if ownership.begun != seen:
                seen, quiet = ownership.begun, 0
                since, used = monotonic(), cpu_of(self._owner)
            elif ownership.runs:
                lasted = monotonic() - since
                waits = cpu_of(self._owner) - used < lasted / 2
                if waits or lasted >= COMPUTES:
                    self._found(seen, since, waits)
            elif quiet < DOZE:
                quiet += 1
            else:
                quiet = 0
                ownership.dozing = True
                if ownership.begun == seen:  # who began just before has not rung
                    bell.wait()
                bell.clear()
                ownership.dozing = False

    def _found(self, number: int, began: float, waits: bool) -> None:
        """The call that began as number `number` lasts."""
        with self._lock:
            if waits and number != self._slowest:
                self._pace.quick(number - self._slowest - 1)
                self._pace.slow()
                self._slowest = number
                self._keen = KEENLY
            self._decide()
            moving = self._leave(began)
        self._go_on(moving)


def cpu_of(ident: int) -> float:
    """Seconds of CPU that this thread, which lives, has used; 0 where the system does not tell (macOS)."""
    clock = getattr(time, "pthread_getcpuclockid", None)
    return time.clock_gettime(clock(ident)) if clock else 0.0
