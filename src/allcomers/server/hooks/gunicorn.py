"""The hooks of a gunicorn.conf.py, with what stands for gunicorn's arbiter and its worker in them.

They have what hooks commonly use: a log, process ids, the settings, the app.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from allcomers.config.options import Config
from allcomers.server.hooks.hooks import LifeHooks

_LOG = logging.getLogger("allcomers.hooks")


class GunicornHooks(LifeHooks):
    """Calls the functions of a gunicorn.conf.py, after those of our own options.

    functions  by gunicorn's names
    settings   what the file sets
    """

    def __init__(
        self,
        config: Config,
        paths: Sequence[str],
        functions: Mapping[str, Callable[..., object]],
        settings: Mapping[str, Any],
    ) -> None:
        super().__init__(config, paths)
        self._functions.update({f"gunicorn {name}": function for name, function in functions.items()})
        ours = {
            "bind": list(config.bind), "workers": config.workers, "threads": config.threads, "user": config.user,
            "group": config.group, "keepalive": config.keep_alive, "graceful_timeout": config.graceful_timeout,
            "timeout": config.hang_timeout, "preload_app": config.preload, "pidfile": config.pid, "env": os.environ,
        }  # fmt: skip
        self._cfg = SimpleNamespace(**ours | dict(settings))
        self._arbiter = SimpleNamespace(
            log=_LOG, cfg=self._cfg, pid=os.getpid(), num_workers=config.workers, WORKERS={}, address=list(config.bind),
            app=SimpleNamespace(cfg=self._cfg),
        )  # fmt: skip
        self._workers: dict[int, SimpleNamespace] = {}
        self._age = 0

    def start(self) -> None:
        super().start()
        self._must("gunicorn on_starting", self._arbiter)

    def ready(self) -> None:
        self._try("gunicorn when_ready", self._arbiter)

    def reload(self) -> None:
        super().reload()
        self._try("gunicorn on_reload", self._arbiter)

    def scaled(self, wanted: int, before: int) -> None:
        self._arbiter.num_workers = wanted
        self._try("gunicorn nworkers_changed", self._arbiter, wanted, before)

    def before_fork(self, index: int) -> None:
        self._age += 1
        worker = SimpleNamespace(
            log=_LOG, cfg=self._cfg, age=self._age, pid="[booting]", ppid=os.getpid(), nr=0, booted=False, alive=True,
            aborted=False, timeout=self._cfg.timeout, app=SimpleNamespace(cfg=self._cfg),
        )  # fmt: skip
        self._workers[index] = worker
        self._try("gunicorn pre_fork", self._arbiter, worker)

    def worker_ended(self, pid: int, index: int) -> None:
        worker = self._workers.pop(index, None) or SimpleNamespace(log=_LOG, cfg=self._cfg)
        worker.pid = pid
        self._try("gunicorn child_exit", self._arbiter, worker)

    def before_upgrade(self) -> None:
        self._try("gunicorn pre_exec", self._arbiter)

    def stop(self) -> None:
        super().stop()
        self._try("gunicorn on_exit", self._arbiter)

    def worker_start(self, index: int) -> None:
        super().worker_start(index)
        self._workers[index].pid = os.getpid()
        self._must("gunicorn post_fork", self._arbiter, self._workers[index])

    def worker_loaded(self, index: int, app: Any) -> None:
        worker = self._workers[index]
        worker.wsgi = worker.app.callable = app
        worker.app.wsgi = lambda: app
        worker.booted = True
        self._must("gunicorn post_worker_init", worker)

    def worker_stop(self, index: int) -> None:
        super().worker_stop(index)
        self._workers[index].alive = False
        self._try("gunicorn worker_exit", self._arbiter, self._workers[index])
