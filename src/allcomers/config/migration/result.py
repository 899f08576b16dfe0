"""The translation of another server's command line, and the state of reading it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from allcomers.config.migration.env_file import variables
from allcomers.config.migration.gunicorn_file import GunicornFile
from allcomers.config.sources import Layer


@dataclass(slots=True)
class Translation:
    """A command line with our flags.

    lines         a report for each flag
    weak          options that replace defaults
    environment   variables to set
    env_files     files with variables, for those that are not set
    paths         folders to add to sys.path
    file          a gunicorn.conf.py that was read
    has_target    whether there is one on the command line
    joins_output  whether standard error goes where standard output goes
    """

    arguments: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weak: Layer = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    env_files: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    file: GunicornFile | None = None
    has_target: bool = False
    joins_output: bool = False

    def apply(self) -> None:
        """Change the process as flags without an option of ours demand. Another call changes nothing.

        Raises ConfigError for a file with variables that cannot be read.
        """
        for name in self.env_files:
            for variable, value in variables(name).items():
                if os.environ.get(variable, _set.get(variable)) == _set.get(variable):
                    os.environ[variable] = _set[variable] = value
        os.environ.update(self.environment)
        if "TZ" in os.environ:
            time.tzset()  # a TZ set here acts as one from the shell
        if self.joins_output:
            with suppress(OSError):  # no standard output is open
                os.dup2(1, 2)

    @property
    def search_path(self) -> tuple[str, ...]:
        """The folders in which the app's modules are searched first: for a worker, not for root."""
        return (*(str(Path(path).resolve()) for path in self.paths), str(Path.cwd()))


_set: dict[str, str] = {}
"""The variables that apply() has set from files: they may change when the files are read again (HUP)."""


@dataclass(slots=True)
class Reading:
    """The state of reading a command line.

    ours      the flags of ours that were given, and their values
    given     the flags that the rules in `combined` handle, and their values
    gunicorn  whether a flag was given that only gunicorn has
    is_mover  whether the command line is another server's, with its files and variables
    """

    translation: Translation = field(default_factory=Translation)
    ours: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    gunicorn: bool = False
    is_mover: bool = False

    def add(self, flag: str, value: str = "") -> None:
        self.translation.arguments.append(f"{flag}={value}" if value else flag)

    def report(self, line: str) -> None:
        self.translation.lines.append(line)

    def quote(self, *flags: str) -> str:
        """Return those of `flags` that were given, with their values, for the start of a line."""
        return " ".join(typed(flag, self.given[flag]) for flag in flags if flag in self.given)


def typed(flag: str, value: str) -> str:
    return f"{flag} {value}" if value else flag
