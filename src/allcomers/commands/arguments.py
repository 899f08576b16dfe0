"""The parser of a command's arguments: an error is one line, with the flag that was probably meant; help that fits the
terminal."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, Final, NoReturn, TextIO

from allcomers.config.checks import similar
from allcomers.errors import ConfigError

_WIDE: Final = 100
"""Columns of the help, at most, and in a pipe."""


class _Help(argparse.RawDescriptionHelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from allcomers.commands.terminal import refilled

        return refilled(text, width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        from textwrap import wrap

        return wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _format_usage(self, *arguments: Any) -> str:
        from allcomers.commands.terminal import refilled

        return refilled(super()._format_usage(*arguments), self._width)


class Parser(argparse.ArgumentParser):
    """A parser that reports an error as every other is reported. `prog` is the command: "allcomers run"."""

    def __init__(self, prog: str, **keywords: Any) -> None:
        self._width = _WIDE
        super().__init__(prog, add_help=False, allow_abbrev=False, formatter_class=self._formatter, **keywords)

    def _formatter(self, prog: str) -> _Help:
        return _Help(prog, max_help_position=30, width=self._width)

    def print_help(self, file: Any = None) -> None:
        """Print the help, as wide as the terminal if that is narrow. Raises OSError, which argparse would swallow."""
        stream = file or sys.stdout
        self._width = min(_columns(stream) or _WIDE, _WIDE)
        print(self.format_help(), end="", file=stream, flush=True)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}{self._hint(message)} (see {self.prog} --help)")

    def _hint(self, message: str) -> str:
        """Return a suggestion for the first flag that argparse does not know; "" if none is like it."""
        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.partition(" ")[0].partition("=")[0]
        return similar(flag, self._option_string_actions) if flag.startswith("--") else ""


_SECONDS: Final = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Parse a time as an option has it, "250ms", "90s", "5m", "1.5h" or a number of seconds; return seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h|)", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 250ms, 90s, 5m, 1h")
    return float(found[1]) * _SECONDS[found[2]]


def print_help(text: str) -> None:
    """Print the help of a command without a parser, as wide as the terminal if that is narrow."""
    from allcomers.commands.terminal import refilled

    print(refilled(text, _columns(sys.stdout)), end="")


def _columns(stream: TextIO) -> int | None:
    from allcomers.commands.terminal import columns

    return columns(stream)
