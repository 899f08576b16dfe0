"""The command line: argv to a Config, and from there on its way. The only place that prints help or exits.

argparse, for it is here already and quick to load: the first request is answered sooner than click would be imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import allcomers
from allcomers.commands.models import _models
from allcomers.commands.parser import _here, _settle, _tell
from allcomers.commands.serve import _complain, _serve
from allcomers.config import sources
from allcomers.errors import ConfigError, OperatorError
from allcomers.server import error_log

if TYPE_CHECKING:
    pass

_COMMANDS = """\
commands:
  serve [DIR]    a folder of files as a site (the current folder unless told
                 otherwise)
  run TARGET     MODULE:NAME or FILE.py:NAME: a WSGI or an ASGI app, a Web or a
                 Service class, or a handler
  doctor [TARGET] with the options of run: what will hurt on this system, and
                 how to mend it
  models         every concurrency model: can it run here, how it works, what it
                 is good for
  load URL       ask a server as many clients would, and say how it answered
  lab TARGET     measure every model on an app, and say which to run and why
  top [ADDR]     the live figures of a server that has --admin

`allcomers COMMAND --help` lists the options of a command. To begin:

  allcomers serve examples/site
  allcomers run examples/echo.py:Echo --bind 127.0.0.1:9000 --model thread
"""

_DOCTOR = """\
usage: allcomers doctor [TARGET] [OPTIONS]

Say what will hurt on this system and with these options, each with its mend.

TARGET and OPTIONS are those of `allcomers run`, from files and the environment
too. With TARGET the app is loaded, in a process of its own, and looked at.

  --json         the report as an object, for programs

Ends with 1 if something will fail, else with 0.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 could not serve, 2 bad option, 3 the app cannot be loaded."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except OperatorError as error:
        return _complain(error)


def _run(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        about = allcomers.__doc__.splitlines()[0].replace(": ", ":\n", 1)
        print(f"usage: allcomers COMMAND [OPTIONS]\n\n{about}\n\n{_COMMANDS}", end="")
        return 0
    if command in ("-V", "--version"):
        from allcomers.protocol.compiled import KIND

        print(f"allcomers {allcomers.__version__} ({KIND}) on Python {sys.version.split()[0]}")
        return 0
    if command == "models":
        return _models(arguments[1:])
    if command == "doctor":
        return _doctor(arguments[1:])
    if command == "load":
        from allcomers.commands.load import command as load

        return load.main(arguments[1:])
    if command == "lab":
        from allcomers.commands.lab import command as lab

        return lab.main(arguments[1:])
    if command == "top":
        from allcomers.commands.top import command as top

        return top.main(arguments[1:], _admin)
    if command not in ("serve", "run"):
        raise ConfigError(
            f"there is no command {command!r}; there are serve, run, doctor, models, load, lab and top"
            " (see allcomers --help)"
        )
    return _serve(arguments)


# ------------------------------------------------------------ what is to be done


def _admin() -> str:
    """The --admin that files and the environment have here."""
    return sources.gather("run", {}, os.environ).config.admin


def _doctor(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(_DOCTOR, end="")
        return 0
    _, found = _settle(["run", *(word for word in arguments if word != "--json")], _here(), _tell)
    for note in found.notes:
        _tell(note)
    error_log.setup(found.config.log_level)
    from allcomers.commands import doctor
    from allcomers.commands.doctor import report

    diagnosis = doctor.examine(found.config, found.own["target"])
    if diagnosis.facts.app:
        sys.stderr.write(diagnosis.facts.app.traceback)
    print(report.as_json(diagnosis) if "--json" in arguments else report.text(diagnosis, sys.stdout))
    return int(diagnosis.will_fail)
