"""The models: who waits for the sockets. One table, each model a module with `serve(serving)`, imported when chosen."""

from __future__ import annotations

import importlib
import select
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from allcomers.errors import ConfigError

if TYPE_CHECKING:
    import asyncio

    from allcomers.config.options import Config
    from allcomers.models.driver.serving import Serving


class Model(NamedTuple):
    """A line of the table.

    how    how it works, in a line
    good   what it is good for, in a line
    events  the selector (of the module `selectors`) of an event loop that waits as this model does, "" for the default
            one; None for a model that has no loop
    needs  the name in the module `select` without which it cannot run here, and what that is
    """

    name: str
    module: str
    how: str
    good: str
    needs: tuple[str, str] = ("", "")
    events: str | None = None

    @property
    def obstacle(self) -> str:
        """Why it cannot run on this system; empty if it can."""
        name, what = self.needs
        return f"needs {what}" if name and not hasattr(select, name) else ""

    def load(self) -> Callable[[Serving], None]:
        """Its `serve`: returns when the orders say so. Raises ConfigError where it cannot run here."""
        if self.obstacle:
            raise ConfigError(f"--model {self.name} cannot run on this system: it {self.obstacle}")
        serve: Callable[[Serving], None] = importlib.import_module(f"allcomers.models.{self.module}").serve
        return serve

    def load_on(self) -> Callable[[Serving, asyncio.AbstractEventLoop], None]:
        """The same for async apps: it serves on an event loop that is given. For a model that has `events`."""
        module = importlib.import_module(f"allcomers.models.{self.module}")
        if not hasattr(module, "serve_on"):
            return partial(importlib.import_module("allcomers.models.driver.asyncio_adapter").drive, nested=None)
        serve_on: Callable[[Serving, asyncio.AbstractEventLoop], None] = module.serve_on
        return serve_on


_EPOLL = ("epoll", "epoll(7), which Linux has")

TABLE = {
    model.name: model
    for model in (
        Model("iterative", "iterative", "one client at a time, the next waits", "learning; a lone client"),
        Model("process", "process", "a new process for each connection", "isolation; few, long connections"),
        Model("thread", "thread", "a new thread for each connection", "some hundred clients; calls that wait"),
        Model("thread-pool", "thread_pool", "N threads, each serves one connection at a time", "a bound on threads"),
        Model(
            "select",
            "select_loop",
            "one thread watches all sockets by select(2)",
            "any system; below 1,000 clients",
            events="SelectSelector",
        ),
        Model(
            "poll",
            "poll_loop",
            "one thread watches all sockets by poll(2)",
            "any POSIX system; some thousand clients",
            ("poll", "poll(2), which POSIX systems have"),
            events="PollSelector",
        ),
        Model(
            "epoll",
            "epoll_loop",
            "the kernel tells which sockets are ready",
            "most servers; 10,000 clients",
            _EPOLL,
            events="EpollSelector",
        ),
        Model(
            "epoll-et",
            "epoll_et_loop",
            "epoll that tells each change once",
            "the same, fewer system calls",
            _EPOLL,
            events="EpollSelector",
        ),
        Model(
            "kqueue",
            "kqueue_loop",
            "the kernel queues events of sockets",
            "most servers, on macOS and BSD",
            ("kqueue", "kqueue(2), which macOS and BSD have"),
            events="KqueueSelector",
        ),
        Model(
            "asyncio",
            "asyncio_loop",
            "an asyncio loop (uvloop if installed) watches them",
            "async apps; async code beside it",
            events="",
        ),
    )
}


def get(name: str) -> Model:
    """The model called `name`. Raises ConfigError."""
    if name not in TABLE:
        raise ConfigError(f"--model {name!r} is not known; choose one of {', '.join(TABLE)}")
    return TABLE[name]


def best() -> str:
    """The name of the best poller that this system has."""
    return next(name for name in ("epoll", "kqueue", "poll", "select") if not TABLE[name].obstacle)


def where(calls: str, config: Config) -> str:
    """Where the calls of an app that is not async run: auto needs a loop, and calls that it may leave to themselves."""
    if calls != "auto":
        return calls
    if get(config.model or best()).events is None:
        return "inline"
    return "pool" if config.call_timeout else "auto"
