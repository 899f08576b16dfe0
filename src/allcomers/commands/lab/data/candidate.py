"""A candidate: the options that the lab chooses, as a value. It knows their names, not what is good."""

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

    calls            "" where it is not for the user to say: an async app's calls are tasks of the loop
    threads          of the pool or of thread-pool; 0 where there are none to be chosen
    max_connections  0 for the model's own measure
    """

    model: str
    workers: int = 1
    calls: str = ""
    threads: int = 0
    max_connections: int = 0

    @property
    def name(self) -> str:
        """Short, and different for each: "2 × epoll + pool of 64"."""
        text = f"{self.workers} × {self.model}" if self.workers > 1 else self.model
        if self.model == "thread-pool":
            text += f" of {self.threads}"
        elif self.calls in POOLED:
            text += f" + {self.calls} of {self.threads}"
        return f"{text} ≤ {self.max_connections:,}" if self.max_connections else text

    def settings(self) -> dict[str, str | int]:
        """The options by their names in allcomers.toml."""
        return {name: value for name, value in self.as_dict().items() if value}

    def flags(self) -> list[str]:
        """The same for the command line."""
        return [word for name, value in self.settings().items() for word in (f"--{name.replace('_', '-')}", str(value))]

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Candidate:
        return cls(**fields)


def has_loop(model: str) -> bool:
    """Does one thread watch all sockets, so that a call can hold others up?"""
    return TABLE[model].events is not None


def runnable() -> Iterator[str]:
    """The models that this system has."""
    return (name for name, model in TABLE.items() if not model.obstacle)


def accepts(option: str, value: str) -> bool:
    """Does this version's `option`, by its field's name, have such a value?"""
    check = next(entry.check for name, _, entry in options() if name == option)
    try:
        check(value)
    except ConfigError:
        return False
    return True
