"""The command line: dispatch to a command, which is imported when it is chosen. The only place that exits.

argparse, because it is in the standard library and quick to load: the first request is answered sooner than click would
be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import allcomers
from allcomers.errors import ConfigError, OperatorError

_HELP: Final = """\
commands:
  serve [DIR]     serve a folder of files as a site; by default the current one
  run TARGET      serve MODULE:NAME or FILE.py:NAME: a WSGI or an ASGI app, a
                  Web or a Service class, or a handler
  doctor [TARGET] check this system, the options of `run` and the app; print
                  each problem with its remedy
  models          list the concurrency models: what each does, and is good for
  load URL        send a server the requests of many clients; report its times
  lab TARGET      measure every model on an app, and recommend one
  top [ADDR]      show the live figures of a server that has --admin

`allcomers COMMAND --help` lists the options of a command. To start:

  allcomers serve examples/site
  allcomers run examples/echo.py:Echo --bind 127.0.0.1:9000 --model thread
"""

_COMMANDS: Final = {
    "serve": "serve:serve",
    "run": "serve:run",
    "doctor": "doctor.command:main",
    "models": "models:main",
    "load": "load.command:main",
    "lab": "lab.command:main",
    "top": "top.command:main",
}
"""{command: its module and function}. The function takes the arguments after the command, and returns the status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 could not serve, 2 bad option, 3 the app cannot be loaded."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except OperatorError as error:
        from allcomers.commands.output import report_error

        return report_error(error)


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        about = allcomers.__doc__.splitlines()[0].replace(": ", ":\n", 1)
        print(f"usage: allcomers COMMAND [OPTIONS]\n\n{about}\n\n{_HELP}", end="")
        return 0
    if name in ("-V", "--version"):
        from allcomers.protocol.compiled import KIND

        print(f"allcomers {allcomers.__version__} ({KIND}) on Python {sys.version.split()[0]}")
        return 0
    if name not in _COMMANDS:
        *others, last = _COMMANDS
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join(others)} and {last} (see allcomers --help)"
        )
    module, _, function = _COMMANDS[name].partition(":")
    command: Callable[[list[str]], int] = getattr(import_module(f"allcomers.commands.{module}"), function)
    return command(arguments[1:])
