"""The server's own log, on standard error: the logger `allcomers` and those below it. The root logger is the app's.

Nothing propagates to the root, so an app's logging.basicConfig() works as elsewhere. For an app that does not configure
the root, the server does, so that the app's log is seen: prepare_root() before it is loaded, settle_root() after.

Messages and exceptions may hold what clients have sent, so only the first line of an entry starts at the margin, and
characters that are not printable are escaped. An entry that comes again and again is written a few times, then counted.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from time import monotonic
from traceback import walk_tb
from typing import Any, Final, TypeAlias

from allcomers.config import local_time
from allcomers.errors import AppError, OperatorError
from allcomers.server.logs import entry_form
from allcomers.system.native.threads import Event, start_thread

NAMES: Final = (
    "", ".admin", ".app", ".calls", ".hooks", ".overload", ".proxy", ".supervisor", ".tls", ".websocket", ".worker",
)  # fmt: skip
"""Suffixes of the server's loggers; their names start with `allcomers`."""

BURST: Final = 10
"""Entries of one kind that are written in WINDOW seconds: enough to see what they have in common."""

WINDOW: Final = 10.0

_KINDS: Final = 256
"""Kinds that are told apart at a time; those beyond share one count."""

_LONGEST: Final = 200
"""Characters of a repr in the log."""

_MAILERS: Final = ("SMTPHandler", "AdminEmailHandler")
"""Handlers that send mail. Django's receives each error, but sends nothing without ADMINS."""


class ServerLogger(logging.Logger):
    """A logger that no code of an app disables or breaks, unless it sets this logger's own level or handlers.

    logging.config disables all loggers that a configuration does not name (disable_existing_loggers), logging.disable()
    those of the whole process. What an app has set for all of them may raise, as where it needs a request of Flask's:
    the factory of records; a root's handler or filter, if the app has removed ours. An entry is written all the same,
    as it is where no handler is left.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - overridden
        return level >= self.getEffectiveLevel()

    def makeRecord(self, *given: Any) -> logging.LogRecord:  # noqa: N802 - overridden
        try:
            return super().makeRecord(*given)
        except Exception:
            record = logging.LogRecord(*given[:8])  # all but `extra` and `sinfo`
            record.__dict__.update(given[8] or {})
            return record

    def handle(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # of the app's
            if self.hasHandlers():
                super().handle(record)
                return
        StderrHandler().handle(record)


class Stderr:
    """Standard error by its descriptor: an app may replace or close sys.stderr."""

    def write(self, text: str) -> None:
        """Raise OSError if it is a pipe that is closed, or that a worker has filled and made non-blocking, for all who
        share it."""
        data = text.encode(getattr(sys.__stderr__, "encoding", None) or "utf-8", "backslashreplace")
        while data:
            data = data[os.write(2, data) :]

    def flush(self) -> None:
        pass


class StderrHandler(logging.StreamHandler[Stderr]):
    """A handler that writes entries in the server's form to standard error."""

    def __init__(self) -> None:
        super().__init__(Stderr())

    def format(self, record: logging.LogRecord) -> str:
        return entry_form.formatted(record) if self.formatter is None else self.formatter.format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - overridden
        with suppress(Exception):  # sys.stderr is closed
            super().handleError(record)


class UnclaimedHandler(StderrHandler):
    """The root's handler for an app that gave it none: it writes each record that no other handler has written.

    So a line comes once, even if a logger has a handler and propagates its records, as Django's and Flask's do.
    """

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        return not _is_written(record) and super().filter(record)


Kind: TypeAlias = tuple[Any, ...]
"""(logger's name, level, …); () is that of all others."""


def _kind(record: logging.LogRecord) -> Kind:
    """Return a key that is equal for entries that report the same: the message's format, the error and its place."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return record.name, record.levelno, record.msg, getattr(record, "kind", None)
    *_, place = (None, *((frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)))
    return record.name, record.levelno, record.msg, type(error), place


class Repeats:
    """The entries of one kind since `began`: how many were written, how many were not, the last of these in a line."""

    __slots__ = ("began", "dropped", "last", "written")

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = self.dropped = 0
        self.last = ""


class LimitedHandler(StderrHandler):
    """A handler that writes the first BURST entries of a kind in WINDOW seconds, then one line that counts the others.

    That line comes when the window is over, by a thread that lives as long; at the latest by close(), which logging's
    own exit handler calls, too. Entries for debugging are not limited. Each process counts its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats: dict[Kind, Repeats] = {}
        self._timed: Event | None = None  # ends the wait of the thread that waits for the end of the window
        os.register_at_fork(after_in_child=self._forget)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            may_write = record.levelno <= logging.DEBUG or self._may_write(record, monotonic())
        except Exception:  # of a __str__, or for want of memory
            self.handleError(record)
            return
        if may_write:
            super().emit(record)
        elif self._timed is None:
            self._start_timer()

    def close(self) -> None:
        self.write_counts()
        super().close()

    def write_counts(self) -> None:
        """Write the counts of the entries that were not written, and begin to count anew."""
        self.acquire()
        try:
            if self._timed is not None:
                self._timed.set()
            self._timed = None
            for kind, repeats in self._repeats.items():
                self._write_count(kind, repeats)
            self._repeats.clear()
        finally:
            self.release()

    def _may_write(self, record: logging.LogRecord, now: float) -> bool:
        kind = _kind(record)
        repeats = self._repeats.get(kind)
        if repeats is None:
            if len(self._repeats) >= _KINDS:
                self._drop_old(now)
            if len(self._repeats) >= _KINDS:
                kind = ()
            repeats = self._repeats.setdefault(kind, Repeats(now))
        if now >= repeats.began + WINDOW:
            self._write_count(kind, repeats)
            repeats.began, repeats.written = now, 0
        if repeats.written < BURST:
            repeats.written += 1
            return True
        repeats.dropped += 1
        repeats.last = _first_line(record)  # not the record, whose traceback holds a request and its body
        return False

    def _drop_old(self, now: float) -> None:
        for kind, repeats in list(self._repeats.items()):
            if now >= repeats.began + WINDOW:
                self._write_count(kind, repeats)
                del self._repeats[kind]

    def _write_count(self, kind: Kind, repeats: Repeats) -> None:
        if repeats.dropped:
            name, level = kind[:2] if kind else ("allcomers", logging.ERROR)
            text = "%d more like the %d before, in %.0f s; the last: %s"
            arguments = (repeats.dropped, repeats.written, monotonic() - repeats.began, repeats.last)
            super().emit(logging.LogRecord(name, level, "", 0, text, arguments, None))
        repeats.dropped = 0

    def _start_timer(self) -> None:
        """Have the counts written at the end of the window. Where no thread can start, the next entry does it."""
        timed = Event()
        with suppress(RuntimeError, MemoryError):
            start_thread(self._await_window, timed, name="log-counts")
            self._timed = timed

    def _await_window(self, timed: Event) -> None:
        if not timed.wait(WINDOW):
            self.write_counts()

    def _forget(self) -> None:
        """Start anew in a forked process: the counts are its parent's."""
        self._repeats, self._timed = {}, None


def _first_line(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    reason = "" if error is None else f": {type(error).__name__}"
    return record.getMessage().partition("\n")[0] + reason


class _DefaultLevel(int):
    """The root's level if set by prepare_root(); an equal level that the app has set is another object."""


def setup(level: str, form: str = "text", file: str = "") -> None:
    """Log to standard error from `level` ("info") upwards, as "text" or "json"; then apply the operator's configuration
    in `file`, if any. A second call changes all that.

    Times are in the zone that the process had at the first call. Raises ConfigError for a bad `file`.
    """
    local_time.keep_zone()
    entry_form.choose(form)
    _keep_enabled()
    _begin(level, file)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_end_of_thread


def _begin(level: str, file: str) -> None:
    logger = logging.getLogger("allcomers")
    logger.setLevel(level.upper())
    logger.propagate = False
    if file:
        from allcomers.server.logs import config_file

        config_file.apply(file)
    if not (logger.handlers or logger.propagate):
        logger.addHandler(LimitedHandler())


def setup_here(level: str, form: str = "text", file: str = "") -> None:
    """Log to standard error, unless the program that has the server has configured logging itself: then it is told."""
    _keep_enabled()
    if file or not logging.getLogger("allcomers").hasHandlers():
        entry_form.choose(form)
        _begin(level, file)


def _keep_enabled() -> None:
    for name in NAMES:
        logging.getLogger(f"allcomers{name}").__class__ = ServerLogger


def flush() -> None:
    """Write what is counted or buffered, and not yet written. Call it before the process ends by os._exit()."""
    with suppress(BaseException):
        for handler in logging.getLogger("allcomers").handlers:
            if isinstance(handler, LimitedHandler):
                handler.write_counts()
        sys.stdout.flush()
        sys.stderr.flush()


def _log_unraisable(raised: sys.UnraisableHookArgs) -> None:
    """Log an exception that nothing can catch, as of a destructor or of a callback from C, in one line."""
    place = next(
        (f" at {frame.f_code.co_filename}:{line}" for frame, line in reversed(list(walk_tb(raised.exc_traceback)))), ""
    )
    text = "nothing can catch this exception: %s: %s%s, from %s"
    name = raised.exc_type.__name__
    _logger.error(text, name, _short(raised.exc_value), place, _short(raised.object), extra={"kind": (name, place)})


def _short(value: object) -> str:
    """Return a repr that is short, of an object whose own may fail."""
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _log_end_of_thread(raised: threading.ExceptHookArgs) -> None:
    """Log the exception that has ended a thread: of the server, or of the app."""
    if raised.exc_type is SystemExit or raised.exc_value is None:
        return
    name = raised.thread.name if raised.thread is not None else "unknown"
    _logger.error("the thread %s has ended", name, exc_info=raised.exc_value)


def prepare_root(level: str) -> None:
    """Show the log of an app while it is loaded, from `level` upwards, unless it configures the root itself.

    The root gets no handler here: the app's basicConfig() would do nothing then.
    """
    logging.lastResort = StderrHandler()
    root = logging.getLogger()
    if root.level == logging.WARNING:
        root.setLevel(_DefaultLevel(logging.getLevelNamesMapping()[level.upper()]))


def settle_root() -> None:
    """Configure the root if the app has been started and gave it no handler.

    An app's own configuration of the logger `allcomers` stays. If it removes the handler and adds none, the server's
    lines go to the root's handlers.
    """
    logging.lastResort = _LAST_RESORT
    root, ours = logging.getLogger(), logging.getLogger("allcomers")
    if not root.handlers:
        root.addHandler(UnclaimedHandler())
    elif isinstance(root.level, _DefaultLevel):
        root.setLevel(logging.WARNING)
    if not ours.handlers:
        ours.propagate = True


_LAST_RESORT: Final = logging.lastResort

_logger = logging.getLogger("allcomers.worker")


def _is_written(record: logging.LogRecord) -> bool:
    """Whether a handler below the root has written `record`."""
    logger: logging.Logger | None = logging.Logger.manager.loggerDict.get(record.name)  # type: ignore[assignment]
    while isinstance(logger, logging.Logger) and logger.parent is not None:
        if any(_writes(handler, record) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _writes(handler: logging.Handler, record: logging.LogRecord) -> bool:
    if isinstance(handler, logging.NullHandler) or type(handler).__name__ in _MAILERS:
        return False
    return record.levelno >= handler.level and bool(handler.filter(record))


def complain(error: OperatorError) -> None:
    """Write one line that explains the error to standard error, after the app's own traceback if there is one."""
    traceback = error.traceback if isinstance(error, AppError) else ""
    announce(f"allcomers: {error}\n", logging.ERROR, traceback)


def announce(text: str, level: int = logging.INFO, traceback: str = "") -> None:
    """Write the lines of `text`, which ends with LF, to standard error if that takes it."""
    with suppress(OSError):
        Stderr().write(entry_form.announcement(text, level, traceback))
