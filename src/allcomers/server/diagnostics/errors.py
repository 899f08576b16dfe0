"""The last errors of a worker with their stacks: entries of the log from ERROR on, of the server and of the app.

Frameworks catch what an app raises and write it into logs of their own, Flask and Django for two; so the log is where
all errors pass. An entry has the first line of its message, without the query of a target, and the stack without values
of variables; the text of an exception is as the app has it, here as in the log.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from contextlib import suppress
from typing import Final

from allcomers.server.logs.entry_form import escaped
from allcomers.system.diagnostics.error_board import MOST, ErrorBoard

_LINE: Final = 300
"""Characters of a message that are kept."""

_FRAMES: Final = 30
"""Calls of a stack that are kept, the innermost."""

_QUERY: Final = re.compile(r"\?[^\s'\"]*")


class ErrorKeeper(logging.Handler):
    """A handler that writes errors to the board, in the place of this worker."""

    def __init__(self, board: ErrorBoard, place: int) -> None:
        super().__init__(logging.ERROR)
        self._board = board
        self._place = place

    def attach(self) -> None:
        """Have it hear the server's log and the app's, once the app has configured its own."""
        ours = logging.getLogger("allcomers")
        logging.getLogger().addHandler(self)
        if not ours.propagate:
            ours.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # of a __str__ of the app's, or for want of memory
            key = _key(record)
            if not self._board.count(self._place, key, os.getpid()):
                self._board.add(self._place, key, os.getpid(), _text(record))


def _key(record: logging.LogRecord) -> int:
    """Return a number that is equal for entries that report the same: the logger, the error and its place."""
    error = record.exc_info[1] if record.exc_info else None
    place = "", 0
    if error is not None and error.__traceback__ is not None:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        place = (frame.f_code.co_filename, line)
    return hash((record.name, record.msg if error is None else type(error), place)) & (1 << 64) - 1


def _text(record: logging.LogRecord) -> str:
    """Return the first line of the message, cut, and the stack: of one that is too long its end."""
    line = _QUERY.sub("?…", record.getMessage().partition("\n")[0])[:_LINE]
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return escaped(line)
    stack = escaped("".join(traceback.format_exception(error, limit=-_FRAMES)).rstrip())
    room = MOST - len(f"{escaped(line)}\n…".encode())
    if len(data := stack.encode()) > room:
        stack = "…" + data[-room:].decode(errors="ignore")
    return f"{escaped(line)}\n{stack}"
