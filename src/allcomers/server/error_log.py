"""The server's own log, on standard error: the logger `allcomers` and those below it. The root logger is the app's.

Nothing is passed on to the root, so an app's logging.basicConfig() works as anywhere else. For an app that leaves the
root bare it is configured, so that what the app logs is seen: prepare_root() before it is loaded, settle_root() after.
"""

from __future__ import annotations

import logging
from typing import Final

from allcomers.config import local_time

NAMES: Final = ("", ".admin", ".app", ".calls", ".proxy", ".supervisor", ".tls", ".websocket", ".worker")
"""Ends of our loggers' names, which begin with `allcomers`."""

_FORMAT: Final = "%(asctime)s [%(process)d] %(levelname)s %(message)s"

_MAILERS: Final = ("SMTPHandler", "AdminEmailHandler")
"""Handlers that send mail: that of Django takes each error and mails nobody, unless ADMINS are named."""


class ServerLogger(logging.Logger):
    """A logger that cannot be disabled.

    logging.config disables all loggers that exist and that a configuration does not name (disable_existing_loggers).
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass


class Formatter(logging.Formatter):
    """Formats a line as 2026-11-23T09:11:45.073+00:00 [23669] INFO a message."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - overridden
        return local_time.iso_milliseconds(record.created)


class UnclaimedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """The root's handler for an app that gave it none: writes what no other handler has written.

    So a line comes once, also where a logger with a handler of its own passes its records on, as Django's and Flask's.
    """

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        return not _is_written(record) and super().filter(record)


class _DefaultLevel(int):
    """The root's level as prepare_root() has set it; an equal one that the app has set is another object."""


def setup(level: str) -> None:
    """Have our loggers write to standard error from `level` on ("info"); called again, it changes the level.

    Lines have the time in the zone that the process had at the first call.
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
    """Show what an app logs while it is loaded, from `level` on, unless it configures the root itself.

    That takes no handler at the root, with which the app's basicConfig() would do nothing.
    """
    logging.lastResort = _to_stderr(logging.StreamHandler())
    root = logging.getLogger()
    if root.level == logging.WARNING:
        root.setLevel(_DefaultLevel(logging.getLevelNamesMapping()[level.upper()]))


def settle_root() -> None:
    """Configure the root if an app that is loaded and started has left it bare; else leave it alone.

    An app's own configuration of the logger `allcomers` stands. If it takes the handler away and gives none, the
    server's lines go to the root's.
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
