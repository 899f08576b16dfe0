"""Pool: calls run on N threads of their own.

Right when calls wait (for a database, a file, another server): the loop serves others meanwhile, and N is how many
may wait at once. An answer that is an iterable has its thread to its end (producer.py). Costs two hand-overs between
threads for each call; for calls that compute it gains nothing, for the interpreter runs one at a time. Under the
blocking models it is a limit: many connections, N calls at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

from allcomers.calls.producer import answer, is_bound
from allcomers.calls.queue import WorkQueue
from allcomers.connection.base import Work
from allcomers.connection.http.response_body import PulledBody
from allcomers.system.counters import DEQUEUED, QUEUED, CounterRow


class Pool:
    """N threads, started by the first call: after a fork, so that each process has its own."""

    inline = False
    counts = True
    keeps_threads = False

    def __init__(self, threads: int, counters: CounterRow) -> None:
        self._threads = threads
        self._counters = counters
        self._jobs: WorkQueue[tuple[Work, Callable[[Any], object], float]] = WorkQueue()
        self._start = threading.Lock()
        self._started = False

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        if not self._started:
            self._start_threads()
        self._counters.add(QUEUED)
        self._jobs.put((work, done, monotonic()))

    def run(self, work: Work) -> Any:
        replies: SimpleQueue[Any] = SimpleQueue()
        self.submit(work, replies.put)
        return replies.get()

    def here(self, work: Work) -> Any:
        return work()

    def lift_limit(self, thread: int) -> None:
        """There is none."""

    def release_loop(self) -> bool:
        return True

    def stay(self, stream: PulledBody) -> None:
        """A loop pulls no answer that is bound to its thread: those have threads of ours."""

    def _start_threads(self) -> None:
        with self._start:
            if not self._started:
                self._jobs.open()
                for number in range(self._threads):
                    # Daemons: a call that never returns must not keep a process that was told to stop.
                    threading.Thread(target=self._serve, name=f"call-{number}", daemon=True).start()
                self._started = True

    def _serve(self) -> None:
        counters = self._counters
        while True:
            work, done, due = self._jobs.get()
            began = monotonic()
            counters.add(DEQUEUED)
            reply = work()
            counters.called(began - due, monotonic() - began)
            if type(reply) is PulledBody and is_bound(reply):
                reply = answer(reply, reply, self._go_on)
            done(reply)
            del work, done, reply  # while it waits, a thread must not keep the last request alive

    def _go_on(self, work: Work) -> Any:
        """Run a further call of an answer that this thread gives."""
        began = monotonic()
        reply = work()
        self._counters.called(0.0, monotonic() - began)
        return reply
