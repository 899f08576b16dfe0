"""Inline: a call runs on the thread that serves the connection.

The fastest: no hand-over. Right while calls are short: under a model with a loop, one that waits keeps all other peers
waiting.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcomers.calls.protocols import Parts
    from allcomers.connection.base import Work
    from allcomers.connection.http.response_body import PulledBody


class Inline:
    """Calls that are over when submit() returns."""

    inline = True
    counts = False
    keeps_threads = False
    is_limited = False

    def __init__(self) -> None:
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
        """Return: there is no thread to end."""

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        done(work())
