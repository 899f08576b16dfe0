"""The parser of a command's arguments: an error is one line, with the flag that was probably meant."""

from __future__ import annotations

import argparse
from typing import NoReturn

from allcomers.config.checks import similar
from allcomers.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser that reports an error as every other is reported. `prog` is the command: "allcomers run"."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}{self._hint(message)} (see {self.prog} --help)")

    def _hint(self, message: str) -> str:
        """Return a suggestion for the first flag that argparse does not know; "" if none is like it."""
        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.partition(" ")[0].partition("=")[0]
        return similar(flag, self._option_string_actions) if flag.startswith("--") else ""
