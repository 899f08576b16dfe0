"""The form of an entry of the server's log: text, with colours on a terminal, or an object of JSON in a line.

The process has one form, set at its start: choose().
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from allcomers.config import local_time
from allcomers.server.logs import colours

_TEXT: Final = "%(asctime)s [%(process)d] %(levelname)s %(message)s"

_UNPRINTABLE: Final = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Characters that could end a line, move a terminal's cursor or turn the order of letters; and lone surrogates."""

_MARGIN: Final = "\n    "

_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def escaped(text: str) -> str:
    """Return `text` with all characters escaped that are not printable, except tabs and the ends of lines."""
    # PERF: most text is plain; to compile the pattern takes 0.7 ms of the start.
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return re.sub(_UNPRINTABLE, lambda found: ascii(found[0])[1:-1], text)


class TextFormatter(logging.Formatter):
    """The format of an entry: 2026-11-23T09:11:45.073+00:00 [23669] INFO a message."""

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__(_TEXT)
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        text = escaped(super().format(record)).replace("\n", _MARGIN)
        if self._coloured and (colour := _COLOURS.get(record.levelname)):
            text = text.replace(record.levelname, colours.painted(record.levelname, colour), 1)
        return text

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - overridden
        return local_time.iso_milliseconds(record.created)


class JsonFormatter(logging.Formatter):
    """The format of an entry as an object of JSON: printable ASCII, in one line."""

    def __init__(self) -> None:
        super().__init__()
        import json

        self._quote = json.JSONEncoder(separators=(",", ":")).encode

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": local_time.iso_milliseconds(record.created),
            "level": record.levelname,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if error := self.formatException(record.exc_info) if record.exc_info else record.exc_text:
            entry["exception"] = error
        if record.stack_info:
            entry["stack"] = record.stack_info
        return self._quote(entry)


_chosen: logging.Formatter = TextFormatter()


def choose(name: str) -> None:
    """Use the form "text" or "json" for all entries that this process writes to standard error from now on."""
    global _chosen
    _chosen = JsonFormatter() if name == "json" else TextFormatter(coloured=colours.wanted(2))


def formatted(record: logging.LogRecord) -> str:
    """Return the entry of `record` in the form that was chosen, without its LF."""
    return _chosen.format(record)


def announcement(text: str, level: int = logging.INFO, traceback: str = "") -> str:
    """Return lines that are no entries, of `text`, which ends with LF: as they are, after the traceback; in JSON, each
    is an object of its own. `traceback` belongs to the first line."""
    if not isinstance(_chosen, JsonFormatter):
        return escaped(traceback) + escaped(text)
    lines = []
    for line in text.splitlines():
        record = logging.LogRecord("allcomers", level, "", 0, line, None, None)
        record.exc_text, traceback = traceback, ""
        lines.append(f"{_chosen.format(record)}\n")
    return "".join(lines)
