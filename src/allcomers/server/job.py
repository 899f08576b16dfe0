"""The task of the supervisor's processes, and the account that they run as."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from allcomers.config.options import Config
from allcomers.server.hooks.hooks import NO_HOOKS, LifeHooks

if TYPE_CHECKING:
    from allcomers.server.privileges import Account
    from allcomers.server.tls.keys import Tickets
    from allcomers.system.diagnostics.board import DiagnosticBoard


class Job(NamedTuple):
    """The task of the supervisor's processes.

    load   makes the target; called in the worker, so that a reload finds the app's new code
    hooks  are called at turns of the server's life
    files  the files that options were read from: a change of one counts as a change of the app (--reload)
    name   of the target, for the log
    kind   its kind, for the log; "" for that of its interface
    tickets  of TLS sessions, which all workers of this job accept; None for each its own
    diagnostics  what workers write down beside their figures; None where nobody looks
    """

    config: Config
    load: Callable[[], Any]
    files: tuple[str, ...] = ()
    hooks: LifeHooks = NO_HOOKS
    name: str = ""
    kind: str = ""
    tickets: Tickets | None = None
    diagnostics: DiagnosticBoard | None = None


def set_umask(config: Config) -> None:
    """Set the process's umask, if there is an option for it: for sockets, logs and all files of the app."""
    if config.umask:
        os.umask(int(config.umask, 8))


def account(config: Config) -> Account | None:
    """Return the account to run as; None to stay as it is. Raises ConfigError for unknown names."""
    if not (config.user or config.group):
        return None
    from allcomers.server import privileges

    return privileges.account_of(config.user, config.group)
