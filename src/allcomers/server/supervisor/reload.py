"""Reload: HUP, or with --reload a changed file, reads the options again and replaces the workers one after another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers import models
from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.server import error_log
from allcomers.server.error_log import complain
from allcomers.server.job import Job, account
from allcomers.server.supervisor.workers import NEVER, Workers
from allcomers.server.tls.keys import new_tickets
from allcomers.system import counters

if TYPE_CHECKING:
    from allcomers.server.hooks.hooks import LifeHooks
    from allcomers.server.supervisor.file_watcher import FileWatcher

_logger = logging.getLogger("allcomers.supervisor")

FIXED: Final = (
    *("bind", "bind_plain", "redirect_https", "listen_when", "uds_mode", "uds_owner", "pid", "admin"),
    *("by_route", "profile"),
    *("reload", "reload_dir", "reload_include", "reload_exclude", "preload"),
)
"""Options that a reload cannot change."""

ROUNDS: Final = 3
"""Reloads in a row because of the same file, each soon after the one before; from then on they wait."""

SOON: Final = 5.0
"""Seconds after a reload in which a change counts as one that the app itself has made when it was loaded."""

LONGEST_WAIT: Final = 60.0
"""Seconds; the first is 1, and each is twice the one before."""


class Reload:
    """The job that workers run now, and the way to the next one.

    job       the current job
    due       when turn() has work, if nothing happens before
    since     when the last reload began
    state     of the last reload: an index of counters.RELOADS
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
        self.job = job._replace(tickets=new_tickets(job.config))
        self.due = NEVER
        self.since = self._ended = 0.0
        self.state = 0
        self._names = ""  # of the files that have changed last
        self._rounds = 0
        self._renew = renew
        self._workers = workers
        self._announce = announce
        self._apply = apply
        self._watcher: FileWatcher | None = None
        self._load: Callable[[], Any] | None = None  # the app that was loaded here

    @property
    def hooks(self) -> LifeHooks:
        return self.job.hooks

    @property
    def config(self) -> Config:
        return self.job.config

    def turn(self, now: float) -> None:
        """Note the end of a reload, and run one that has waited until now."""
        if self.state == counters.RELOADING and (self._workers.gave_up or self._workers.is_settled):
            self.state = counters.GIVEN_UP if self._workers.gave_up else counters.RELOADED
            self._ended = now
            if self.state == counters.RELOADED:
                _logger.info("reloaded in %.1f s", now - self.since)
        if now >= self.due:
            self._run_for_files()

    def preload(self) -> None:
        """Load the app here, once for all workers, unless it has to be loaded in each. Raises AppError."""
        if reason := _why_in_workers(self.config):
            _logger.warning("--preload has no effect: %s", reason)
            return
        error_log.prepare_root(self.config.log_level)
        app = self.job.load()
        if (count := threading.active_count() - 1) > 0:
            text = "the app has started %d threads while it was loaded: no worker has them, for a fork copies none"
            _logger.warning(text + " (--preload)", count)
        self._load = lambda: app
        self.job = self.job._replace(load=self._load)

    def watch(self) -> None:
        """Reload from now on when a file changes. Raises ConfigError."""
        from allcomers.server.supervisor.file_watcher import FileWatcher

        config = self.config
        self._watcher = FileWatcher(
            config.reload_dir,
            self.job.files,
            account(config),
            include=config.reload_include,
            exclude=config.reload_exclude,
        )

    @property
    def is_watching(self) -> bool:
        return self.fileno() >= 0

    def fileno(self) -> int:
        """Return the descriptor that is readable when a file has changed; -1 if no files are watched."""
        return -1 if self._watcher is None else self._watcher.fileno()

    def receive(self) -> None:
        """Reload because of a changed file. Call only when fileno() is readable."""
        assert self._watcher is not None
        names = self._watcher.changed()
        if not names:
            return
        now = monotonic()
        again = names == self._names and (self.state == counters.RELOADING or now < self._ended + SOON)
        self._names, self._rounds = names, self._rounds + 1 if again else 0
        if self._rounds < ROUNDS:
            self._run_for_files()
        elif self.due == NEVER:
            if self._rounds == ROUNDS:
                text = "%s changes each time that the app is loaded: reloads wait, 1 s and then twice as long each time"
                _logger.warning(f"{text}; --reload-exclude leaves the file out", names)
            self.due = now + min(LONGEST_WAIT, 2.0 ** (self._rounds - ROUNDS))

    def _run_for_files(self) -> None:
        self.due = NEVER
        _logger.info("%s has changed", self._names)
        self.run()

    def run(self) -> None:
        """Read the options again and have all workers replaced. Change nothing after an error in the options, or while
        the server stops."""
        if self._workers.leaving:
            return
        self._announce()
        self.since = monotonic()
        try:
            job = self._renew()
            account(job.config)  # raises for unknown names
            job.hooks.load()
            error_log.setup(*job.config.log_form)
        except OperatorError as error:
            self.state = counters.REFUSED
            complain(error)
            _logger.error("the options stay as they were")
            return
        self.state = counters.RELOADING
        self._adopt(job)
        job.hooks.reload()
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
            self._workers.count.allow(new.workers)
        self._workers.patience = new.graceful_timeout
        if self._load is not None:
            job = job._replace(load=self._load)
            _logger.warning("the app stays as --preload has loaded it; USR2 loads it anew")
        # New ones: a certificate of a client that its authority vouched for before must be shown again.
        self.job = job._replace(tickets=new_tickets(new))
        self._apply(new)

    @property
    def pids(self) -> list[int]:
        """The watcher's process id."""
        return [] if self._watcher is None else self._watcher.pids

    def reap(self) -> None:
        """Collect the watcher's exit status if it has ended."""
        if self._watcher is not None:
            self._watcher.reap()

    def close(self) -> None:
        """End the watcher."""
        if self._watcher is not None:
            self._watcher.close()

    def close_here(self) -> None:
        """Close the watcher's pipes in a forked process, which does not own them."""
        if self._watcher is not None:
            self._watcher.close_here()


def _why_in_workers(config: Config) -> str:
    """Return the reason why each worker has to load the app; "" for none."""
    if config.reload:
        return "--reload has each worker load the app anew"
    if account(config) is not None:
        return "the supervisor stays root, which runs no code of the app; the workers load it as --user"
    if config.model and models.get(config.model).is_patched:
        return f"--model {config.model} patches the standard library in each worker, before the app is loaded"
    return ""
