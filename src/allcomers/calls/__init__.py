"""Where an app's calls run: a second choice beside the model, and any goes with any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from allcomers.connection import Work


class Calls(Protocol):
    """inline  bool: a call runs in the thread that submits it, and is over when that returns."""

    inline: bool

    def run(self, work: Work) -> Any:
        """Run `work` and wait for what it returns: for a thread that serves one peer."""
        ...

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        """Have `work` run, then `done` called with what it returned, in the thread that ran it."""
        ...


def find(name: str, threads: int) -> Calls:
    """The calls called `name`: "inline" or "pool" of so many threads."""
    if name == "pool":
        from allcomers.calls.pool import Pool

        return Pool(threads)
    from allcomers.calls.inline import Inline

    return Inline()
