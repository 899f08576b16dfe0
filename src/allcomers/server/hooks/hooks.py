"""The hooks of the options --on-start, --on-worker-start, --on-worker-stop, --on-reload and --on-stop.

A hook of the server runs in the supervisor, as the user that started it; a hook of a worker in that, as the workers'
user (--user). One that must succeed before anything can be served, and raises, ends the start as an import that raises
does; any other is reported, and the server goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from allcomers.config.options import Config
from allcomers.errors import AppError

_logger = logging.getLogger("allcomers.hooks")

_OF_SERVER: Final = ("on_start", "on_reload", "on_stop")
_OF_WORKER: Final = ("on_worker_start", "on_worker_stop")


class HookServer:
    """The server, for its hooks. `pid` is the supervisor's."""

    __slots__ = ("config", "pid")

    def __init__(self, pid: int, config: Config) -> None:
        self.pid = pid
        self.config = config


class HookWorker:
    """A worker, for its hooks. `index` is from 1 on; the next one gets it when this one has ended."""

    __slots__ = ("config", "index", "pid")

    def __init__(self, pid: int, index: int, config: Config) -> None:
        self.pid = pid
        self.index = index
        self.config = config


class LifeHooks:
    """The functions to call. A subclass adds calls of its own, and at turns for which there is no option.

    paths  folders in which the modules of hooks are searched first
    """

    def __init__(self, config: Config, paths: Sequence[str] = ()) -> None:
        self._config = config
        self._paths = paths
        self._functions: dict[str, Callable[..., object]] = {}

    # ------------------------------------------------------------ of the server

    def load(self) -> None:
        """Import the server's hooks. Raises AppError."""
        self._load(_OF_SERVER)

    def start(self) -> None:
        """The server starts; nothing is open yet. Raises AppError."""
        self.load()
        self._must("on_start", self._server())

    def ready(self) -> None:
        """Clients can connect."""

    def reload(self) -> None:
        """The options were read again, and workers will be replaced."""
        self._try("on_reload", self._server())

    def scaled(self, wanted: int, before: int) -> None:
        """Another number of workers is wanted."""

    def before_fork(self, index: int) -> None:
        """A worker is about to be forked."""

    def worker_ended(self, pid: int, index: int) -> None:
        """A worker has ended, however it did."""

    def before_upgrade(self) -> None:
        """A new server is about to be started, to take over."""

    def stop(self) -> None:
        """All workers have ended, and the server ends."""
        self._try("on_stop", self._server())

    # ------------------------------------------------------------ of a worker, in it

    def worker_start(self, index: int) -> None:
        """A worker starts; the app is not loaded yet. Raises AppError."""
        self._load(_OF_WORKER)
        self._must("on_worker_start", self._worker(index))

    def worker_loaded(self, index: int, app: Any) -> None:
        """The app is loaded. Raises AppError."""

    def worker_stop(self, index: int) -> None:
        """A worker that has served ends."""
        self._try("on_worker_stop", self._worker(index))

    # ------------------------------------------------------------ calls

    def _server(self) -> HookServer:
        return HookServer(os.getpid(), self._config)

    def _worker(self, index: int) -> HookWorker:
        return HookWorker(os.getpid(), index, self._config)

    def _load(self, names: Sequence[str]) -> None:
        """Import the functions that options name. Raises AppError."""
        for name in names:
            given = getattr(self._config, name)
            if not given:
                continue
            if isinstance(given, str):
                from allcomers.apps import loading

                given = loading.load(given, self._paths or (os.getcwd(),))  # noqa: PTH109
            if not callable(given):
                raise AppError(f"{name}: {getattr(self._config, name)} is no function")
            self._functions[name] = given

    def _must(self, name: str, *arguments: object) -> None:
        """Call a hook, if there is one. Raises AppError if it raises."""
        if (function := self._functions.get(name)) is None:
            return
        try:
            function(*arguments)
        except BaseException as error:
            from allcomers.apps.loading import failure

            raise failure(name, error) from None

    def _try(self, name: str, *arguments: object) -> None:
        """Call a hook, if there is one; report what it raises."""
        if (function := self._functions.get(name)) is None:
            return
        try:
            function(*arguments)
        except BaseException:
            _logger.exception("%s failed; the server goes on", name)


NO_HOOKS: Final = LifeHooks(Config())
"""For a process that has none."""
