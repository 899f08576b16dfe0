"""The last errors of all workers, for pages and terminals: bounded in number and size, and escaped."""

from __future__ import annotations

from typing import Any, Final

from allcomers.server.logs.entry_form import escaped
from allcomers.system.diagnostics.error_board import ErrorBoard

SHOWN: Final = 20


def recent_errors(board: ErrorBoard | None, highest: int) -> list[dict[str, Any]]:
    """Return {time, worker, pid, count, message, stack} of the last errors, of workers up to the place `highest`.

    time   of the last that was like it, in seconds since 1970
    count  how many were
    stack  lines, the innermost call last; "" for an error without one
    """
    shown = []
    for entry in board.entries(highest)[:SHOWN] if board is not None else ():
        message, _, stack = escaped(entry.text).partition("\n")
        shown.append({
            "time": entry.time, "worker": entry.place, "pid": entry.pid, "count": entry.number,
            "message": message, "stack": stack,
        })  # fmt: skip
    return shown
