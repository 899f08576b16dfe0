"""The command line: dispatch to a command, which is imported when it is chosen. The only place that exits.

argparse, because it is in the standard library and quick to load: the first request is answered sooner than click would
be imported.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import allcomers
from allcomers.errors import ConfigError, OperatorError
from allcomers.system.memory.collector import paused

SUMMARIES: Final = {
    "serve [DIR]": "serve a folder of files as a site; by default the current one",
    "run TARGET": "serve MODULE:NAME or FILE.py:NAME: a WSGI or an ASGI app, a Web or a Service class, or a handler",
    "dev TARGET": "run with reload, and with tracebacks in the browser",
    "gunicorn ARGS": "serve by gunicorn's command line, with its gunicorn.conf.py",
    "uvicorn ARGS": "serve by uvicorn's command line",
    "doctor [TARGET]": "check this system, the options and the app; tell the remedies",
    "models": "list the concurrency models: what each does, and is good for",
    "load URL": "send a server the requests of many clients; report its times",
    "lab TARGET": "measure every model on an app, and recommend one",
    "top [ADDR]": "show the live figures of a server that has --admin",
    "completions SHELL": "print a script that completes all this in bash, zsh or fish",
}
"""{command and its argument: what it does}."""

_EXAMPLES: Final = """\
`allcomers COMMAND --help` lists the options of a command. To start:

  allcomers serve examples/site
  allcomers run examples/echo.py:Echo --bind 127.0.0.1:9000 --model thread
"""

COMMANDS: Final = {
    "serve": "serve:serve",
    "run": "serve:run",
    "dev": "serve:dev",
    "gunicorn": "serve:gunicorn",
    "uvicorn": "serve:uvicorn",
    "doctor": "doctor.command:main",
    "models": "models:main",
    "load": "load.command:main",
    "lab": "lab.command:main",
    "top": "top.command:main",
    "completions": "shell.command:main",
}
"""{command: its module and function}. The function takes the arguments after the command, and returns the status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 could not serve, 2 bad option, 3 the app cannot be loaded;
    130 after Ctrl-C; 141 if the reader of its output has gone."""
    _open_standard_streams()
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()  # a reader that has gone is noticed here, and not when the interpreter ends
        return status
    except OperatorError as error:
        from allcomers.commands.output import report_error

        return report_error(error)
    except KeyboardInterrupt:  # before the command has handlers of its own, or where it needs none
        return 128 + signal.SIGINT
    except BrokenPipeError:
        if not _readers_gone():
            raise
        return 128 + signal.SIGPIPE  # as of a program that the signal ends, in silence


def _readers_gone() -> bool:
    """Return whether standard output or error is a pipe that nobody reads; what is left for it goes to /dev/null."""
    import select

    gone = []
    for fd in (1, 2):
        poll = select.poll()
        poll.register(fd, 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            gone.append(fd)
    for fd in gone:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)
    return bool(gone)


def _open_standard_streams() -> None:
    """Open /dev/null as each of the descriptors 0 to 2 that is closed, before anything else gets its number.

    A socket that is descriptor 2 would receive the log, and programs that an app starts would have it as their own.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: fd
            setattr(sys, name, open(fd, mode, closefd=False))


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        about = allcomers.__doc__.splitlines()[0].replace(": ", ":\n", 1)
        from allcomers.commands.arguments import print_help

        print_help(f"usage: allcomers COMMAND [OPTIONS]\n\n{about}\n\ncommands:\n{_summaries()}\n\n{_EXAMPLES}")
        return 0
    if name in ("-V", "--version"):
        from allcomers.protocol.compiled import KIND

        print(f"allcomers {allcomers.__version__} ({KIND}) on Python {sys.version.split()[0]}")
        return 0
    if name not in COMMANDS:
        from allcomers.config.checks import similar

        *others, last = COMMANDS
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join(others)} and {last}"
            f"{similar(name, COMMANDS)} (see allcomers --help)"
        )
    module, _, function = COMMANDS[name].partition(":")
    with paused():
        command: Callable[[list[str]], int] = getattr(import_module(f"allcomers.commands.{module}"), function)
    return command(arguments[1:])


def _summaries() -> str:
    from textwrap import fill

    from allcomers.commands.terminal import columns

    width = min(columns(sys.stdout) or 79, 79)
    return "\n".join(
        fill(text, width, initial_indent=f"  {name:16}", subsequent_indent=" " * 18)
        if len(name) < 16
        else f"  {name}\n{fill(text, width, initial_indent=' ' * 18, subsequent_indent=' ' * 18)}"
        for name, text in SUMMARIES.items()
    )
