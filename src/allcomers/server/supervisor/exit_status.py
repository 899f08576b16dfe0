"""The end of a process, in words for the log."""

from __future__ import annotations

import signal


def ending(code: int) -> str:
    """Describe the end of a process, from its exit code: one below 0 is a signal."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have none
        return f"was killed by signal {-code}"
