"""What a command line of another server comes to, and what was read of it so far."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from allcomers.config.migration.env_file import variables
from allcomers.config.sources import Layer


@dataclass(slots=True)
class Translation:
    """A command line in our own words.

    lines        what each flag was taken for
    weak         what is to be instead of defaults
    environment  variables to be set
    env_files    files with variables, for those that are not set
    paths        folders where modules are looked for
    umask        of the process
    joins_output  bool: standard error goes where standard output goes
    """

    arguments: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weak: Layer = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    env_files: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    umask: int | None = None
    joins_output: bool = False

    def apply(self) -> None:
        """Do what is no option of ours but a state of the process; doing it again changes nothing.

        Raises ConfigError: a file with variables that cannot be read.
        """
        for name in self.env_files:
            for variable, value in variables(name).items():
                if os.environ.get(variable, _set.get(variable)) == _set.get(variable):
                    os.environ[variable] = _set[variable] = value
        os.environ.update(self.environment)
        if "TZ" in os.environ:
            time.tzset()  # a variable that is set here is to mean what one of the shell's does
        if self.umask is not None:
            os.umask(self.umask)
        if self.joins_output:
            with suppress(OSError):  # there is no standard output
                os.dup2(1, 2)
        here = str(Path.cwd())
        for folder in (here, *(str(Path(path).resolve()) for path in reversed(self.paths))):
            if folder not in sys.path:
                sys.path.insert(0, folder)


_set: dict[str, str] = {}
"""What apply() has set from files: that may change when they are read again (HUP)."""


@dataclass(slots=True)
class Reading:
    """What was read of a command line so far.

    ours      our own flags that were given, and their values
    given     values of flags that mean something only together
    gunicorn  bool: was there a flag that gunicorn alone has?
    """

    moved: Translation = field(default_factory=Translation)
    ours: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    gunicorn: bool = False

    def add(self, flag: str, value: str = "") -> None:
        self.moved.arguments.append(f"{flag}={value}" if value else flag)

    def say(self, line: str) -> None:
        self.moved.lines.append(line)

    def said(self, *flags: str) -> str:
        """Those of `flags` that were given, with their values: what a line begins with."""
        return " ".join(typed(flag, self.given[flag]) for flag in flags if flag in self.given)


def typed(flag: str, value: str) -> str:
    return f"{flag} {value}" if value else flag
