"""The models: who waits for the sockets. One table, each model a module with `serve(serving)`, imported when chosen."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from allcomers.config.checks import similar
from allcomers.errors import ConfigError
from allcomers.system.native import primitives

if TYPE_CHECKING:
    from allcomers.config.options import Config

Serve: TypeAlias = Callable[..., None]
"""Called with what the model is to serve (driver/serving.py); returns when the server stops."""


class Model(NamedTuple):
    """A line of the table.

    how     how it works, in a line
    good    its best use, in a line
    needs   the native primitive without which it cannot run here, and a description of that
    events  the selector (of the module `selectors`) of an event loop that waits as this model does, "" for the default
            one; None for a model that has no loop
    package the package that it needs, an extra of ours, too; "" for none
    """

    name: str
    module: str
    how: str
    good: str
    needs: tuple[str, str] = ("", "")
    events: str | None = None
    package: str = ""

    @property
    def is_patched(self) -> bool:
        """Whether calls wait in greenlets, in a standard library that is patched for them."""
        return self.package == "gevent"

    @property
    def obstacle(self) -> str:
        """The reason why it cannot run on this system; empty if it can."""
        name, description = self.needs
        if name and getattr(primitives, name) is None:
            return f"needs {description}"
        if self.package and find_spec(self.package) is None:
            return f"needs {self.package}: pip install 'allcomers[{self.package}]'"
        return ""

    def check(self) -> None:
        """Raise ConfigError where it cannot run here."""
        if self.obstacle:
            raise ConfigError(f"--model {self.name} cannot run on this system: it {self.obstacle}")

    def load(self) -> Serve:
        """Return the model's `serve`. Raises ConfigError where it cannot run here."""
        self.check()
        serve: Serve = importlib.import_module(f"allcomers.models.{self.module}").serve
        return serve

    def prepare(self) -> None:
        """Prepare this process for an app that the model is to serve, before that is loaded. Raises ConfigError."""
        self.check()
        if self.is_patched:
            from allcomers.models.greenlets import patch

            patch.patch()

    def load_on(self) -> Serve:
        """Return the same for async apps: called with an asyncio event loop, too. For a model that has `events`."""
        module = importlib.import_module(f"allcomers.models.{self.module}")
        if not hasattr(module, "serve_on"):
            return partial(importlib.import_module("allcomers.models.driver.asyncio_adapter").drive, nested=None)
        serve_on: Serve = module.serve_on
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
            "the kernel reports which sockets are ready",
            "most servers; 10,000 clients",
            _EPOLL,
            events="EpollSelector",
        ),
        Model(
            "epoll-et",
            "epoll_et_loop",
            "epoll that reports each change once",
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
        Model(
            "gevent",
            "gevent_hub",
            "a greenlet for each connection, all in one thread",
            "WSGI apps whose calls wait; apps made for gevent",
            package="gevent",
        ),
    )
}


def get(name: str) -> Model:
    """Return the model called `name`. Raises ConfigError."""
    if name not in TABLE:
        raise ConfigError(f"--model {name!r} is not known; choose one of {', '.join(TABLE)}{similar(name, TABLE)}")
    return TABLE[name]


def best() -> str:
    """Return the name of the best poller that this system has."""
    return next(name for name in ("epoll", "kqueue", "poll", "select") if not TABLE[name].obstacle)


def where(calls: str, config: Config) -> str:
    """Return where the calls of an app that is not async run. Auto needs a loop."""
    model = get(config.model or best())
    if calls == "pool" and model.is_patched:
        raise ConfigError(
            f"--calls pool does not go with --model {model.name}: each call has its connection's greenlet"
        )
    if calls != "auto":
        return calls
    return "inline" if model.events is None else "auto"
