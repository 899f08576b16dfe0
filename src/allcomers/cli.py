"""The command line: argv to a Config, and from there on its way. The only place that prints help or exits.

argparse, for it is here already and quick to load: the first request is answered sooner than click would be imported.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import allcomers
from allcomers import config as configs
from allcomers.errors import ConfigError, OperatorError

if TYPE_CHECKING:
    from allcomers.worker import Job

_COMMANDS = """\
commands:
  serve [DIR]    a folder of files as a site (the current folder unless told otherwise)
  run TARGET     MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE: a Web or a Service class, or a handler
  models         every concurrency model: can it run here, how it works, what it is good for

`allcomers COMMAND --help` lists the options of a command. To begin:

  allcomers serve examples/site
  allcomers run examples/echo.py:Echo --bind 127.0.0.1:9000 --model thread
"""


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 could not serve, 2 bad option, 3 the app cannot be loaded."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except OperatorError as error:
        from allcomers.worker import complain

        complain(error)
        return error.exit_code


def _run(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(f"usage: allcomers COMMAND [OPTIONS]\n\n{allcomers.__doc__.splitlines()[0]}\n\n{_COMMANDS}", end="")
        return 0
    if command in ("-V", "--version"):
        print(f"allcomers {allcomers.__version__} (plain Python) on Python {sys.version.split()[0]}")
        return 0
    if command == "models":
        return _models(arguments[1:])
    if command not in ("serve", "run"):
        raise ConfigError(f"there is no command {command!r}; there are serve, run and models (see allcomers --help)")
    job = _job(arguments)
    from allcomers.supervisor import Supervisor

    logging.basicConfig(
        level=job.config.log_level.upper(),
        format="%(asctime)s [%(process)d] %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    return Supervisor(job, renew=partial(_job, arguments)).run()


def _parser(command: str) -> _Parser:
    about = {"serve": "Serve a folder of files as a site.", "run": "Serve a Web class, a Service class or a handler."}
    parser = _Parser(
        f"allcomers {command}", description=about[command], formatter_class=_Help, allow_abbrev=False, add_help=False,
        usage=f"allcomers {command} {'[DIR]' if command == 'serve' else 'TARGET'} [OPTIONS]",
    )  # fmt: skip
    what = parser.add_argument_group("what")
    if command == "serve":
        what.add_argument("target", metavar="DIR", nargs="?", default=".", help="the folder; this one by default")
        what.add_argument("--list", action="store_true", help="list folders that have no index.html")
        what.add_argument("--cache-control", metavar="VALUE", help="for each file, as `max-age=3600`; default none")
        what.add_argument("--follow-links", action="store_true", help="also where links lead out of the folder")
    else:
        what.add_argument("target", metavar="TARGET", help="MODULE:ATTRIBUTE or path/FILE.py:ATTRIBUTE")
    what.add_argument("-h", "--help", action="help", help="show this and exit")
    groups: dict[str, Any] = {}
    for name, default, option in configs.options():
        group = groups.get(option.group) or groups.setdefault(option.group, parser.add_argument_group(option.group))
        if not option.value:
            group.add_argument(*option.flags, dest=name, action="store_const", const="on", help=option.help)
            continue
        shown = ", ".join(default) if option.repeats else default
        group.add_argument(
            *option.flags, dest=name, metavar=option.value, action="append" if option.repeats else "store",
            help=option.help + (f" ({shown:g})" if isinstance(shown, float) else f" ({shown})" if shown else ""),
        )  # fmt: skip
    return parser


def _job(arguments: list[str]) -> Job:
    """What to serve and how. Raises ConfigError."""
    command = arguments[0]
    given = vars(_parser(command).parse_args(arguments[1:]))
    names = {name for name, _, _ in configs.options()}
    config = configs.make({name: value for name, value in given.items() if name in names and value is not None})
    from allcomers import models
    from allcomers.worker import Job

    if config.model:
        models.find(config.model).load()
    load = partial(_site, given) if command == "serve" else partial(_target, given["target"])
    if command == "serve":
        load()  # a bad folder is told at once
    return Job(config=config, load=load)


def _site(given: dict[str, Any]) -> Any:
    from allcomers.handlers.site import Site

    return Site(
        given["target"],
        listing=given["list"],
        cache_control=given["cache_control"],
        follow_links=given["follow_links"],
    )


def _target(name: str) -> Any:
    from allcomers import target

    return target.load(name)


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
