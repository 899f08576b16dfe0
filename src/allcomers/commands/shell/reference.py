"""All commands with their flags, as data: for completions in a shell and for the man page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final, NamedTuple

from allcomers import models
from allcomers.config import checks
from allcomers.config import options as configs

LIKE_RUN: Final = {
    "dev": (("--tls", "serve HTTPS with a certificate that is made here"),),
    "doctor": (("--json", "print the report as a JSON object"),),
}
"""Commands that have the flags of `run`, and others: their names and help."""

_FILES: Final = ("FILE", "DIR", "PATH", "GLOB", "TARGET")


class Flag(NamedTuple):
    """A flag of a command.

    names    "-m", "--model"
    value    a word for its value; "" for none
    help     a few words
    choices  the values that there are, if they are few
    group    of the options
    """

    names: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()
    group: str = "options"

    @property
    def is_file(self) -> bool:
        return self.value in _FILES


def flags(command: str) -> list[Flag]:
    """Return the flags of a command, in order."""
    if command in LIKE_RUN:
        return [*(Flag((name,), "", text) for name, text in LIKE_RUN[command]), *flags("run")]
    if command in ("serve", "run"):
        from allcomers.commands.parser import all_options

        return list(_of(all_options(command), _choices(command)))
    if command == "load":
        from allcomers.commands.load.data import options as load

        return list(_of(load.parser(), {}))
    if command == "lab":
        from allcomers.commands.lab.data import options as lab

        return list(_of(lab.parser(), {}))
    once = [Flag(("--once",), "", "print the figures once, and end"), Flag(("--json",), "", "print them as JSON")]
    return [*(once if command == "top" else ()), Flag(("-h", "--help"), "", "show the help")]


def _of(parser: argparse.ArgumentParser, choices: dict[str, tuple[str, ...]]) -> Iterator[Flag]:
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.option_strings and action.help != argparse.SUPPRESS:
                value = str(action.metavar or "") if action.nargs != 0 else ""
                text = (action.help or "").replace("%%", "%")
                names = tuple(action.option_strings)
                yield Flag(names, value, text, choices.get(action.dest, ()), group.title or "options")


def _choices(command: str) -> dict[str, tuple[str, ...]]:
    """Return the values of each option that has few."""
    found = {name: checks.choices(option.check) for name, _, option in configs.known(command)}
    return found | {"model": tuple(models.TABLE), "access_log_format": ("combined", "common", "json", "short")}
