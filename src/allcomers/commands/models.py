"""`allcomers models`: every concurrency model, and whether it runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allcomers.errors import ConfigError

if TYPE_CHECKING:
    pass


def _models(arguments: list[str]) -> int:
    if arguments:
        if arguments[0] in ("-h", "--help"):
            print("usage: allcomers models\n\nEvery concurrency model: can it run here, how it works, what it is for.")
            return 0
        raise ConfigError("allcomers models takes no arguments")
    from allcomers import models

    best = models.best()
    for model in models.TABLE.values():
        state = model.obstacle or ("runs here; the default" if model.name == best else "runs here")
        print(f"{model.name:12} {state}\n{'':12} {model.how}\n{'':12} for {model.good}\n")
    print("`--workers N` runs any of them in N processes; `--calls pool` has app calls run on threads of their own.")
    return 0
