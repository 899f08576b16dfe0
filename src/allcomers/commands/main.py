"""The command line: argv to a Config, and from there on its way. The only place that prints help or exits.

argparse, for it is here already and quick to load: the first request is answered sooner than click would be imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import allcomers
from allcomers.config import options as configs
from allcomers.config import sources
from allcomers.errors import ConfigError, OperatorError
from allcomers.server import error_log

if TYPE_CHECKING:
    from allcomers.config.migration import Moved
    from allcomers.config.sources import Layer, Settings
    from allcomers.server.worker import Job

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

_ABOUT = {
    "serve": "Serve a folder of files as a site.",
    "run": "Serve a WSGI or an ASGI app, a Web or a Service class, or a handler.",
}

_CONFIGURATION = {
    "--config": "options, rather than from allcomers.toml or pyproject.toml",
    "--check-config": "check options, load what is to be served, and exit: 0, 2 or 3",
    "--print-config": "print every option as TOML, and where it comes from",
}


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 could not serve, 2 bad option, 3 the app cannot be loaded."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except OperatorError as error:
        return _complain(error)


def _complain(error: OperatorError) -> int:
    from allcomers.server.worker import complain

    complain(error)
    return error.exit_code


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


def _serve(arguments: list[str]) -> int:
    if "--help-all" in arguments:
        _parser(arguments[0], everything=True).print_help()
        return 0
    start = _here()
    asked, found = _settle(arguments, start, _tell)
    for note in found.notes:
        _tell(note)
    if asked["print_config"]:
        sys.stdout.write(sources.to_toml(found))
        return 0
    error_log.setup(found.config.log_level)
    job = _job(found)._replace(files=_files(asked))
    if asked["check_config"]:
        return _check(found, job)
    from allcomers.server.supervisor.supervisor import Supervisor

    return Supervisor(job, renew=partial(_renew, arguments, start), start=start).run()


def _tell(line: str) -> None:
    print(f"allcomers: {line}", file=sys.stderr, flush=True)


# ------------------------------------------------------------ options


def _parser(command: str, everything: bool = False) -> _Parser:
    """The parser of a command; its help shows what most people need, or everything."""
    parser = _Parser(
        f"allcomers {command}", description=_ABOUT[command], formatter_class=_Help, allow_abbrev=False, add_help=False,
        usage=f"allcomers {command} {'[DIR]' if command == 'serve' else 'TARGET'} [OPTIONS]",
        epilog=None if everything else f"All options: allcomers {command} --help-all. Each may stand in allcomers.toml"
        " (workers = 4),\nor in the environment (ALLCOMERS_WORKERS=4); an option given here is stronger.",
    )  # fmt: skip
    groups: dict[str, Any] = {}
    for name, default, option in configs.known(command):
        group = groups.get(option.group) or groups.setdefault(option.group, parser.add_argument_group(option.group))
        shown = configs.shown(default, option) if option.flags else ""
        text = f"{option.help} ({shown})" if shown else option.help
        _add(group, name, option, text.replace("%", "%%") if everything or name in configs.COMMON else None)
    what = groups["what"]
    what.add_argument("-h", "--help", action="help", help="show what most people need")
    what.add_argument("--help-all", action="store_true", help="show every option")
    for flag, text in _CONFIGURATION.items():
        if flag == "--config":
            what.add_argument(flag, metavar="FILE", help=text)
        else:
            what.add_argument(flag, action="store_true", help=text)
    return parser


def _add(group: Any, name: str, option: configs.Option, text: str | None) -> None:
    shown = argparse.SUPPRESS if text is None else text
    if not option.flags:
        group.add_argument(name, metavar=option.value, nargs="?", help=shown)
    elif option.value:
        action = "append" if option.repeats else "store"
        group.add_argument(*option.flags, dest=name, metavar=option.value, action=action, help=shown)
    else:
        group.add_argument(*option.flags, dest=name, action="store_const", const="on", help=shown)
        no = f"--no-{option.flags[-1].removeprefix('--')}"  # takes back what a file or the environment has
        group.add_argument(no, dest=name, action="store_const", const="off", help=argparse.SUPPRESS)


def _settle(arguments: list[str], start: str, tell: Any) -> tuple[dict[str, Any], Settings]:
    """(what was parsed, what it comes to). Where that fails, perhaps the flags are those of another server.

    Raises ConfigError.
    """
    command, *rest = arguments
    try:
        settled = _gather(command, rest, start)
    except ConfigError:
        if command != "run":
            raise
        from allcomers.config import migration

        moved = migration.translate(rest, os.environ)
        if moved is None:
            raise
        for line in moved.lines:
            tell(line)
        rest = moved.arguments
        settled = _gather(command, rest, start, moved)
    if command == "run" and any(word.startswith("-t") for word in rest):
        from allcomers.config import migration

        for line in migration.doubts(rest):
            tell(line)
    return settled


def _gather(
    command: str, arguments: list[str], start: str, moved: Moved | None = None
) -> tuple[dict[str, Any], Settings]:
    asked = vars(_parser(command).parse_args(arguments))
    flags: Layer = {
        name: (
            tuple(asked[name]) if option.repeats else asked[name],
            option.flags[-1] if option.flags else option.value,
        )
        for name, _, option in configs.known(command)
        if asked[name] is not None
    }
    if "bind" not in flags and "LISTEN_FDS" in os.environ:
        from allcomers.server import systemd

        if given := systemd.binds(os.environ):
            flags["bind"] = (given, "LISTEN_FDS")
    _enter(start)
    folder = asked["chdir"] or os.environ.get("ALLCOMERS_CHDIR", "")
    _enter(folder)
    if moved is not None:
        moved.apply()
    found = sources.gather(
        command, flags, os.environ, file=asked["config"] or "", weak=moved.weak if moved is not None else None
    )
    if not folder:
        _enter(found.config.chdir)
    return asked, found


def _here() -> str:
    """The current folder; by the name that the shell has for it, if that is a link: it may lead elsewhere by and by."""
    try:
        here, named = os.getcwd(), os.environ.get("PWD", "")  # noqa: PTH109
        return named if named.startswith("/") and os.path.samefile(named, here) else here  # noqa: PTH121
    except OSError:  # it was removed
        return ""


def _files(asked: dict[str, Any]) -> tuple[str, ...]:
    """Where options are read from."""
    named = asked["config"] or os.environ.get("ALLCOMERS_CONFIG", "")
    return (named,) if named else ("allcomers.toml", "pyproject.toml")


def _enter(folder: str) -> None:
    if not folder:
        return
    try:
        os.chdir(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--chdir {folder!r}: {getattr(error, 'strerror', None) or error}") from None


# ------------------------------------------------------------ what is to be done


def _job(found: Settings) -> Job:
    """What to serve and how. Raises ConfigError."""
    config, own = found.config, found.own
    if found.command == "run" and not own["target"]:
        raise ConfigError("TARGET is missing: MODULE:NAME or FILE.py:NAME (see allcomers run --help)")
    if config.chdir:
        config = config._replace(chdir=_here())  # where we are: so that to enter it again changes nothing
    if config.admin:
        from allcomers.server.admin import allowed_hosts

        allowed_hosts.check(config.admin, config.admin_hosts)
    from allcomers import models
    from allcomers.server.worker import Job

    if config.model:
        models.find(config.model).load()
    load = partial(_site, own) if found.command == "serve" else partial(_target, own["target"])
    if found.command == "serve":
        load()  # a bad folder is told at once
    return Job(config=config, load=load)


def _renew(arguments: list[str], start: str) -> Job:
    """The job as files, environment and flags have it now. Raises OperatorError, and then nothing has changed."""
    before = _here()
    try:
        return _job(_settle(arguments, start, lambda line: None)[1])
    except BaseException:
        with suppress(OSError):
            os.chdir(before)
        raise


def _site(own: dict[str, Any]) -> Any:
    from allcomers.apps.static.site import Site

    return Site(
        own["dir"],
        listing=own["list"],
        cache_control=own["cache_control"] or None,
        follow_links=own["follow_links"],
    )


def _target(name: str) -> Any:
    from allcomers.apps import loading

    return loading.load(name)


def _check(found: Settings, job: Job) -> int:
    """Load what is to be served as a worker would, in a process of its own: an app may leave threads behind."""
    from allcomers.system.sockets import Bind

    for text in job.config.bind:
        Bind(text)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _load(found, job)
        except OperatorError as error:
            status = _complain(error)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    if code < 0:
        _tell(f"the process that loaded it was ended by signal {-code}")
    return code if code >= 0 else 1


def _load(found: Settings, job: Job) -> int:
    from allcomers import models
    from allcomers.server.endpoint import endpoint
    from allcomers.server.worker import become_worker

    config = job.config
    keys = become_worker(config)
    served = endpoint(job.load(), config, None, keys)
    error_log.settle_root()
    model = config.model or ("asyncio" if served.is_async else models.best())
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    what = found.own.get("target") or found.own["dir"]
    where = ", ".join(config.bind)
    print(f"OK: {what} as {served.scheme} on {where}: {workers}, {model}, calls {served.calls}")
    return 0


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
