"""The options of `serve` and `run`: their help, and the settings that flags, environment and files give."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from allcomers.commands.arguments import Parser
from allcomers.config import options as configs
from allcomers.config import sources
from allcomers.errors import ConfigError
from allcomers.system.native.primitives import are_patched

if TYPE_CHECKING:
    from allcomers.config.migration import Translation
    from allcomers.config.option import Option
    from allcomers.config.sources import Layer, Settings


_ABOUT: Final = {
    "serve": "Serve a folder of files as a site.",
    "run": "Serve a WSGI or an ASGI app, a Web or a Service class, or a handler.",
}


_CONFIGURATION: Final = {
    "--config": "read options from FILE instead of allcomers.toml or pyproject.toml",
    "--check-config": "check the options, load the app or site, and exit with 0, 2 or 3",
    "--print-config": "print every option as TOML, with its origin",
}


_GONE: Final = "the folder in which the server was started is gone:"


def print_all_options(command: str) -> None:
    """Print the help of `command`, "run" or "serve", with every option."""
    all_options(command).print_help()


def all_options(command: str) -> Parser:
    """Return a parser of `command` whose help has every option."""
    return _parser(command, everything=True)


def _parser(command: str, everything: bool = False) -> Parser:
    """Return the parser of a command; its help shows the options that most people need, or all."""
    parser = Parser(
        f"allcomers {command}", description=_ABOUT[command],
        usage=f"allcomers {command} {'[DIR]' if command == 'serve' else 'TARGET'} [OPTIONS]",
        epilog=None if everything else f"All options: allcomers {command} --help-all. Each can be set in allcomers.toml"
        " (workers = 4)\nor in the environment (ALLCOMERS_WORKERS=4); an option given here overrides both.",
    )  # fmt: skip
    groups: dict[str, Any] = {}
    for name, default, option in configs.known(command):
        group = groups.get(option.group) or groups.setdefault(option.group, parser.add_argument_group(option.group))
        shown = configs.shown(default, option) if option.flags else ""
        text = f"{option.help} ({shown})" if shown else option.help
        _add(group, name, option, text.replace("%", "%%") if everything or name in configs.COMMON else None)
    first = groups["general"]
    first.add_argument("-h", "--help", action="help", help="show the options that most people need")
    first.add_argument("--help-all", action="store_true", help="show every option")
    for flag, text in _CONFIGURATION.items():
        if flag == "--config":
            first.add_argument(flag, metavar="FILE", help=text)
        else:
            first.add_argument(flag, action="store_true", help=text)
    return parser


def _add(group: Any, name: str, option: Option, text: str | None) -> None:
    shown = argparse.SUPPRESS if text is None else text
    if not option.flags:
        group.add_argument(name, metavar=option.value, nargs="?", help=shown)
    elif option.value:
        action = "append" if option.repeats else "store"
        group.add_argument(*option.flags, dest=name, metavar=option.value, action=action, help=shown)
    else:
        group.add_argument(*option.flags, dest=name, action="store_const", const="on", help=shown)
        negation = f"--no-{option.flags[-1].removeprefix('--')}"  # overrides a file and the environment
        group.add_argument(negation, dest=name, action="store_const", const="off", help=argparse.SUPPRESS)


def read_settings(
    command: str, arguments: list[str], start: str, report: Callable[[str], None], mover: str = ""
) -> tuple[dict[str, Any], Settings]:
    """Return (the parsed arguments, the settings) of `command`, "run" or "serve"; enter the folder of --chdir.

    start   the folder in which the server was started
    report  called with a line for each flag that is not used as it stands
    mover   "gunicorn" or "uvicorn" if the arguments are a whole command line of that

    Where `run` does not understand its arguments, they are read again with the flags of gunicorn and uvicorn.
    Raises ConfigError.
    """
    if mover:
        return _of_mover(mover, arguments, start, report)
    try:
        found = _gather(command, arguments, start)
    except ConfigError:
        if command != "run":
            raise
        from allcomers.config import migration

        translation = migration.translate(arguments, os.environ)
        if translation is None:
            raise
        for line in translation.lines:
            report(line)
        arguments = translation.arguments
        found = _gather(command, arguments, start, translation)
    if command == "run" and any(word.startswith("-t") for word in arguments):
        from allcomers.config import migration

        for line in migration.doubts(arguments):
            report(line)
    return found


def _of_mover(
    mover: str, arguments: list[str], start: str, report: Callable[[str], None]
) -> tuple[dict[str, Any], Settings]:
    from allcomers.config.migration import movers

    _enter(start, _GONE)  # its file is there
    translation = (movers.of_gunicorn if mover == "gunicorn" else movers.of_uvicorn)(arguments, os.environ)
    if are_patched():
        raise ConfigError(
            "gunicorn.conf.py patches Python by gevent, in the supervisor: leave gevent.monkey out there; --model"
            " gevent patches each worker before it loads the app"
        )
    for line in translation.lines:
        report(line)
    return _gather("run", translation.arguments, start, translation)


def _gather(
    command: str, arguments: list[str], start: str, translation: Translation | None = None
) -> tuple[dict[str, Any], Settings]:
    parsed = vars(_parser(command).parse_args(arguments))
    flags: Layer = {
        name: (
            tuple(parsed[name]) if option.repeats else parsed[name],
            option.flags[-1] if option.flags else option.value,
        )
        for name, _, option in configs.known(command)
        if parsed[name] is not None
    }
    if "bind" not in flags and "LISTEN_FDS" in os.environ:
        from allcomers.server import systemd

        if inherited := systemd.binds(os.environ):
            flags["bind"] = (inherited, "LISTEN_FDS")
    _enter(start, _GONE)
    folder = parsed["chdir"] or os.environ.get("ALLCOMERS_CHDIR", "")
    _enter(folder)
    if translation is not None:
        translation.apply()
    weak = translation.weak if translation is not None else None
    settings = sources.gather(command, flags, os.environ, file=parsed["config"] or "", weak=weak)
    if not folder:
        _enter(settings.config.chdir)
    if translation is not None:
        file = translation.file
        hooks = None if file is None else (file.hooks, file.settings)
        settings = settings._replace(paths=translation.search_path, hooks=hooks)
    return parsed, settings


def current_folder() -> str:
    """Return the current folder by the shell's name for it, which may be a link that leads elsewhere later; or "".

    systemd sets no PWD for its WorkingDirectory. So a link beside the folder, or beside the one that it is in, counts
    as its name if it is the only one: as of current → releases/2.
    """
    try:
        folder, named = os.getcwd(), os.environ.get("PWD", "")  # noqa: PTH109
        if named.startswith("/") and os.path.samefile(named, folder):  # noqa: PTH121
            return named
        links = [link for above in _above(folder) for link in _links_to(folder, above)]
    except OSError:  # it was removed
        return ""
    return links[0] if len(links) == 1 else folder


def _above(folder: str) -> list[str]:
    """Return the two folders above, but for the root."""
    first = os.path.dirname(folder)  # noqa: PTH120
    return [above for above in dict.fromkeys((first, os.path.dirname(first))) if above != os.sep]  # noqa: PTH120


def _links_to(folder: str, above: str) -> list[str]:
    """Return the links in the folder `above` that lead to `folder`; none of another user than this one and root."""
    try:
        with os.scandir(above) as entries:
            return [
                entry.path
                for entry in entries
                if entry.is_symlink()
                and entry.stat(follow_symlinks=False).st_uid in (0, os.geteuid())
                and os.path.realpath(entry.path) == folder
            ]
    except OSError:
        return []


def config_files(parsed: dict[str, Any]) -> tuple[str, ...]:
    """Return the files from which options are read, of the arguments as read_settings() returned them."""
    named = parsed["config"] or os.environ.get("ALLCOMERS_CONFIG", "")
    return (named,) if named else ("allcomers.toml", "pyproject.toml")


def _enter(folder: str, what: str = "--chdir") -> None:
    if not folder:
        return
    try:
        os.chdir(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {folder!r}: {getattr(error, 'strerror', None) or error}") from None
