"""Reload: HUP, or with --reload a changed file, reads the options again and replaces the workers one after another."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.server import error_log
from allcomers.server.error_log import complain
from allcomers.server.supervisor.workers import Workers
from allcomers.server.worker import Job, log_path

if TYPE_CHECKING:
    from allcomers.server.supervisor.file_watcher import FileWatcher

_logger = logging.getLogger("allcomers.supervisor")

FIXED: Final = ("bind", "pid", "reload", "reload_dir", "admin")
"""Options that a reload cannot change."""


class Reload:
    """The job that workers run now, and the way to the next one.

    job       the current job
    renew     reads the options again. Raises OperatorError.
    announce  called when a reload starts
    apply     called with the new options
    """

    def __init__(
        self,
        job: Job,
        renew: Callable[[], Job],
        workers: Workers,
        announce: Callable[[], object],
        apply: Callable[[Config], object],
    ) -> None:
        self.job = job
        self._renew = renew
        self._workers = workers
        self._announce = announce
        self._apply = apply
        self._watcher: FileWatcher | None = None

    @property
    def config(self) -> Config:
        return self.job.config

    def watch(self) -> None:
        """Reload from now on when a file changes. Raises ConfigError."""
        from allcomers.server.supervisor.file_watcher import FileWatcher

        self._watcher = FileWatcher(self.config.reload_dir, self.job.files)

    @property
    def is_watching(self) -> bool:
        return self.fileno() >= 0

    def fileno(self) -> int:
        """Return the descriptor that is readable when a file has changed; -1 if no files are watched."""
        return -1 if self._watcher is None else self._watcher.fileno()

    def receive(self) -> None:
        """Reload because of a changed file. Call only when fileno() is readable."""
        assert self._watcher is not None
        name = self._watcher.changed()
        if name:
            _logger.info("%s has changed", name)
            self.run()

    def run(self) -> None:
        """Read the options again and have all workers replaced. Change nothing after an error in the options, or while
        the server stops."""
        if self._workers.leaving:
            return
        self._announce()
        try:
            job = self._renew()
            prepare_account(job.config)
        except OperatorError as error:
            complain(error)
            _logger.error("the options stay as they were")
            return
        self._adopt(job)
        count = self._workers.replace_all()
        action = "its worker is replaced" if count == 1 else f"{count} workers are replaced one after another"
        _logger.info("reloading: %s", action)

    def _adopt(self, job: Job) -> None:
        old, new = self.config, job.config
        for name in FIXED:
            if getattr(new, name) != getattr(old, name):
                flag = name.replace("_", "-")
                _logger.warning("--%s cannot change by HUP: it stays as it was; USR2 applies it", flag)
        if new.workers != old.workers:
            self._workers.wanted = new.workers
        self._workers.patience = new.graceful_timeout
        error_log.setup(new.log_level)
        self.job = job
        self._apply(new)

    def close(self) -> None:
        """End the watcher."""
        if self._watcher is not None:
            self._watcher.close()

    def close_here(self) -> None:
        """Close the watcher's pipes in a forked process, which does not own them."""
        if self._watcher is not None:
            self._watcher.close_here()


def prepare_account(config: Config) -> None:
    """Look --user and --group up, and create the access log for them. Raises ConfigError."""
    if config.user or config.group:
        from allcomers.server import privileges

        account = privileges.account_of(config.user, config.group)
        path = log_path(config)
        if account is not None and path not in ("-", "off"):
            account.own(path)
