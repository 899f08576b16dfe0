"""A candidate: the options that the lab chooses, as a value. It knows their names, not which are good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from allcomers.config.options import options
from allcomers.errors import ConfigError
from allcomers.models import TABLE

POOLED: Final = ("pool", "auto")
"""Values of --calls that use threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to serve.

    calls            "" if there is no choice: an async app's calls are tasks of the loop
    threads          of the pool or of thread-pool; 0 if there are none to choose
    max_connections  0 for the model's own limit
    """

    model: str
    workers: int = 1
    calls: str = ""
    threads: int = 0
    max_connections: int = 0

    @property
    def name(self) -> str:
        """A short, unique name: "2 × epoll + pool of 64"."""
        text = f"{self.workers} × {self.model}" if self.workers > 1 else self.model
        if self.model == "thread-pool":
            text += f" of {self.threads}"
        elif self.calls in POOLED:
            text += f" + {self.calls} of {self.threads}"
        return f"{text} ≤ {self.max_connections:,}" if self.max_connections else text

    def settings(self) -> dict[str, str | int]:
        """Return the options by their names in allcomers.toml."""
        return {name: value for name, value in self.as_dict().items() if value}

    def flags(self) -> list[str]:
        """Return the options for the command line."""
        return [
            argument
            for name, value in self.settings().items()
            for argument in (f"--{name.replace('_', '-')}", str(value))
        ]

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Candidate:
        return cls(**fields)


def has_loop(model: str) -> bool:
    """Return whether one thread watches all sockets, so that a call can hold others up."""
    return TABLE[model].events is not None


def runnable(is_async: bool) -> Iterator[str]:
    """Return the models that run on this system, for an async app or any other."""
    return (name for name, model in TABLE.items() if not model.obstacle and not (is_async and model.is_patched))


def accepts(option: str, value: str) -> bool:
    """Return whether `option`, a field's name, has this value in this version."""
    check = next(entry.check for name, _, entry in options() if name == option)
    try:
        check(value)
    except ConfigError:
        return False
    return True
