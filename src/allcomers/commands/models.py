"""`allcomers models`: list every concurrency model, and whether it runs here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from allcomers.commands.arguments import print_help
from allcomers.commands.terminal import columns, refilled
from allcomers.errors import ConfigError

_HELP: Final = """\
usage: allcomers models

List the concurrency models: whether each runs here, what it does, and is good
for.
"""


def main(arguments: Sequence[str]) -> int:
    """Print the table of models; return 0. Raises ConfigError."""
    if arguments:
        if arguments[0] in ("-h", "--help"):
            print_help(_HELP)
            return 0
        raise ConfigError("allcomers models takes no arguments")
    from allcomers import models

    width = columns(sys.stdout)
    best = models.best()
    for model in models.TABLE.values():
        state = model.obstacle or ("runs here; the default" if model.name == best else "runs here")
        lines = (f"{model.name:12} {state}", f"{'':12} {model.how}", f"{'':12} for {model.good}\n")
        print("\n".join(refilled(line, width) for line in lines))
    last = "`--workers N` runs any of them in N processes; `--calls pool` runs app calls in threads of their own."
    print(refilled(last, width))
    return 0
