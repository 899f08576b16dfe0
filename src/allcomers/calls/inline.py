"""Inline: a call runs on the thread that serves the connection.

The fastest: no hand-over. Right while calls are short: under a model with a loop, one that waits keeps all other peers
waiting.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from allcomers.calls.ownership import Ownership
from allcomers.calls.watchdog import DOZE, LOOK, Watchdog

if TYPE_CHECKING:
    from allcomers.calls.protocols import Parts
    from allcomers.connection.base import Work
    from allcomers.connection.http.response_body import PulledBody


class _PullWatch:
    """A watchdog of pieces that are pulled: while one is made, it has those sent that are held.

    ownership  claimed while a piece is pulled; nobody takes it
    """

    def __init__(self) -> None:
        self._seen = 0
        self._quiet = 0  # looks since a pull was seen
        self._watchdog = Watchdog(self._look, self._set_idle, "pull-watch")
        self.ownership = Ownership(self._watchdog.ring)
        self.close = self._watchdog.close

    def _set_idle(self, idle: bool) -> None:
        self.ownership.dozing = idle

    def _look(self) -> float | None:
        """Return the seconds until the next look, or None: sleep until a pull begins."""
        ownership = self.ownership
        ownership.flush_held()
        self._quiet = 0 if ownership.started_count != self._seen else self._quiet + 1
        self._seen = ownership.started_count
        return LOOK if self._quiet < DOZE else None


class Inline:
    """Calls that are over when submit() returns.

    pulls  the Ownership that a loop claims while it pulls a piece
    """

    inline = True
    counts = False
    keeps_threads = False
    is_limited = False

    def __init__(self) -> None:
        self._watch = _PullWatch()
        self.pulls = self._watch.ownership
        self.here: Callable[[Work], Any] = operator.call  # PERF: a method of our own would be one more call in Python

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        return work()

    def away(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing: the thread is its peer's own."""
        return nullcontext()

    def lift_limit(self, thread: int) -> None:
        """Ignore: there is no limit."""

    def release_loop(self) -> bool:
        return False

    def stay(self, stream: PulledBody, reply: Any) -> None:
        """Return: the loop never leaves its thread."""

    def close(self) -> None:
        self._watch.close()

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        done(work())
