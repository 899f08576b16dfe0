"""The garbage collector, while a server starts: all that is made then stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Have nothing collected within. Not for code of an app, which may leave garbage.

    PERF: 8 of 116 ms of CPU for the imports of `run` (median of 25 pairs, on a busy machine)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
