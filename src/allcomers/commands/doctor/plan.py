"""What the options come to once the server chooses what they leave open: model, calls, how much a worker has."""

from __future__ import annotations

from math import inf
from typing import Final

from allcomers import models
from allcomers.commands.doctor.facts import Facts
from allcomers.config.options import Config

SPARE: Final = 64
"""Descriptors of a worker that are no peer's: log, listeners, pipes, the poller's, files that are being sent."""

_THREAD_PLACES: Final = 1000
_PROCESS_PLACES: Final = 256
"""As in models.thread and models.process, which would load all that a server needs; a test compares."""


def model(facts: Facts, config: Config) -> str:
    """The model that will run."""
    return config.model or ("asyncio" if facts.kind == "asgi" else models.best())


def is_blocking(facts: Facts, config: Config) -> bool:
    """Is each peer served by a thread or process that waits for it?"""
    return models.get(model(facts, config)).events is None


def calls(facts: Facts, config: Config) -> str:
    """Where the app's calls will run."""
    if config.calls:
        return models.where(config.calls, config)
    return facts.app.calls if facts.app else "inline"


def keeps_others_waiting(facts: Facts, config: Config) -> bool:
    """Does a call that waits keep all peers of its worker waiting?"""
    return calls(facts, config) == "inline" and model(facts, config) not in ("process", "thread", "thread-pool")


def places(facts: Facts, config: Config) -> float:
    """Peers that a worker lets in at once, by its model and options; descriptors are another matter."""
    which = model(facts, config)
    if which == "iterative":
        return 1
    own: dict[str, float] = {"thread": _THREAD_PLACES, "process": _PROCESS_PLACES}
    most = config.max_connections or own.get(which, inf)
    return min(most, config.threads) if which == "thread-pool" else most


def tasks(facts: Facts, config: Config) -> float:
    """Threads and processes of one worker when it is full, itself among them."""
    which = model(facts, config)
    own = places(facts, config) if which in ("process", "thread", "thread-pool") else 0
    pool = {"inline": 0, "pool": config.threads, "auto": config.threads + 1}[calls(facts, config)]
    return 1 + own * (1 + pool) if which == "process" else 1 + own + pool


def calls_at_once(facts: Facts, config: Config) -> float:
    """Calls of the app that one worker may run at the same time."""
    if calls(facts, config) != "inline" and model(facts, config) != "process":
        return config.threads
    return 1 if keeps_others_waiting(facts, config) else places(facts, config)
