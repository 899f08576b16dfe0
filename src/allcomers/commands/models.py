"""`allcomers models`: list every concurrency model, and whether it runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allcomers.errors import ConfigError

_HELP: Final = """\
usage: allcomers models

List the concurrency models: whether each runs here, what it does, and is good
for."""


def main(arguments: Sequence[str]) -> int:
    """Print the table of models; return 0. Raises ConfigError."""
    if arguments:
        if arguments[0] in ("-h", "--help"):
            print(_HELP)
            return 0
        raise ConfigError("allcomers models takes no arguments")
    from allcomers import models

    best = models.best()
    for model in models.TABLE.values():
        state = model.obstacle or ("runs here; the default" if model.name == best else "runs here")
        print(f"{model.name:12} {state}\n{'':12} {model.how}\n{'':12} for {model.good}\n")
    print("`--workers N` runs any of them in N processes; `--calls pool` runs app calls in threads of their own.")
    return 0
