"""The effect of the options, once the server has chosen those left open: model, calls, the size of a worker."""

from __future__ import annotations

from math import inf
from typing import Final

from allcomers import models
from allcomers.commands.doctor.facts import Facts
from allcomers.config.options import Config
from allcomers.system.descriptors import MOST

SPARE: Final = 64
"""Descriptors of a worker beside those of peers: log, listeners, pipes, the poller, files being sent."""

_THREAD_PLACES: Final = 1000
_PROCESS_PLACES: Final = 256
_GREENLET_PLACES: Final = 10_000
"""As in models.thread, models.process and models.gevent_hub, which would load a whole server; a test compares them."""


def model(facts: Facts, config: Config) -> str:
    """Return the model that will run."""
    return config.model or ("asyncio" if facts.kind == "asgi" else models.best())


def is_blocking(facts: Facts, config: Config) -> bool:
    """Return True if each peer has a thread or process that waits for it."""
    return models.get(model(facts, config)).events is None


def calls(facts: Facts, config: Config) -> str:
    """Return where the app's calls will run: "inline", "pool" or "auto"."""
    if config.calls:
        return models.where(config.calls, config)
    return facts.app.calls if facts.app else "inline"


def blocks_others(facts: Facts, config: Config) -> bool:
    """Return True if a call that waits makes all peers of its worker wait."""
    waits = model(facts, config) in ("process", "thread", "thread-pool", "gevent")
    return calls(facts, config) == "inline" and not waits


def places(facts: Facts, config: Config) -> float:
    """Return the peers that a worker accepts at once, by its model and options, not by its descriptors."""
    which = model(facts, config)
    if which == "iterative":
        return 1
    own: dict[str, float] = {"thread": _THREAD_PLACES, "process": _PROCESS_PLACES, "gevent": _GREENLET_PLACES}
    most = config.max_connections or own.get(which, inf)
    return min(most, config.threads) if which == "thread-pool" else most


def descriptors(facts: Facts, config: Config) -> float:
    """Return the descriptors that a worker may have."""
    return facts.nofile_hard if config.descriptors == MOST else config.descriptors or facts.nofile


def tasks(facts: Facts, config: Config) -> float:
    """Return the threads and processes of one full worker, itself included."""
    which = model(facts, config)
    own = places(facts, config) if which in ("process", "thread", "thread-pool") else 0
    pool = {"inline": 0, "pool": config.threads, "auto": config.threads + 1}[calls(facts, config)]
    return 1 + own * (1 + pool) if which == "process" else 1 + own + pool


def calls_at_once(facts: Facts, config: Config) -> float:
    """Return the calls of the app that one worker may run at the same time."""
    if calls(facts, config) != "inline" and model(facts, config) != "process":
        return config.threads
    return 1 if blocks_others(facts, config) else places(facts, config)
