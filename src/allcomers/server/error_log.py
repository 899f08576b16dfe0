"""The server's own log, on standard error: the logger `allcomers` and those below it. The root logger is the app's.

Nothing propagates to the root, so an app's logging.basicConfig() works as elsewhere. For an app that does not configure
the root, the server does, so that the app's log is seen: prepare_root() before it is loaded, settle_root() after.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from allcomers.config import local_time
from allcomers.errors import AppError, OperatorError

NAMES: Final = ("", ".admin", ".app", ".calls", ".proxy", ".supervisor", ".tls", ".websocket", ".worker")
"""Suffixes of the server's loggers; their names start with `allcomers`."""

_FORMAT: Final = "%(asctime)s [%(process)d] %(levelname)s %(message)s"

_MAILERS: Final = ("SMTPHandler", "AdminEmailHandler")
"""Handlers that send mail. Django's receives each error, but sends nothing without ADMINS."""


class ServerLogger(logging.Logger):
    """A logger that cannot be disabled.

    logging.config disables all loggers that a configuration does not name (disable_existing_loggers).
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass


class Formatter(logging.Formatter):
    """The format of a line: 2026-11-23T09:11:45.073+00:00 [23669] INFO a message."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - overridden
        return local_time.iso_milliseconds(record.created)


class UnclaimedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """The root's handler for an app that gave it none: it writes each record that no other handler has written.

    So a line comes once, even if a logger has a handler and propagates its records, as Django's and Flask's do.
    """

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        return not _is_written(record) and super().filter(record)


class _DefaultLevel(int):
    """The root's level if set by prepare_root(); an equal level that the app has set is another object."""


def setup(level: str) -> None:
    """Log to standard error from `level` ("info") upwards. A second call changes the level.

    Times are in the zone that the process had at the first call.
    """
    local_time.keep_zone()
    for name in NAMES:
        logging.getLogger(f"allcomers{name}").__class__ = ServerLogger
    logger = logging.getLogger("allcomers")
    logger.setLevel(level.upper())
    if not logger.handlers:
        logger.propagate = False
        logger.addHandler(_to_stderr(logging.StreamHandler()))


def prepare_root(level: str) -> None:
    """Show the log of an app while it is loaded, from `level` upwards, unless it configures the root itself.

    The root gets no handler here: the app's basicConfig() would do nothing then.
    """
    logging.lastResort = _to_stderr(logging.StreamHandler())
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
        root.addHandler(_to_stderr(UnclaimedHandler()))
    elif isinstance(root.level, _DefaultLevel):
        root.setLevel(logging.WARNING)
    if not ours.handlers:
        ours.propagate = True


_LAST_RESORT: Final = logging.lastResort


def _to_stderr(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(Formatter())
    return handler


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
    if isinstance(error, AppError) and error.traceback:
        sys.stderr.write(error.traceback)
    sys.stderr.write(f"allcomers: {error}\n")
    sys.stderr.flush()
