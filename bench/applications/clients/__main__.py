"""`python clients NAME URL`: the checks of an application, with the clients that its users have.

Runs in the environment of the applications. A check is a function `check_…` of the module NAME_checks. For each check a
line of JSON: {"check": its name, "error": why it failed, or null}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module


def run(check: Callable[[str], None], url: str) -> str | None:
    """Return why the check failed; None if it did not."""
    try:
        check(url)
    except BaseException as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return None


def main(name: str, url: str) -> None:
    for key, check in vars(import_module(f"{name}_checks")).items():
        if key.startswith("check_"):
            print(json.dumps({"check": key.removeprefix("check_"), "error": run(check, url)}), flush=True)
    os._exit(0)  # threads of a client that still run would keep the process


if __name__ == "__main__":
    main(*sys.argv[1:])
