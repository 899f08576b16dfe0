"""The options of a command: its help, and the values that flags, environment and files give."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from allcomers.config import options as configs
from allcomers.config import sources
from allcomers.errors import ConfigError

if TYPE_CHECKING:
    from allcomers.config.migration import Translation
    from allcomers.config.sources import Layer, Settings


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


def _tell(line: str) -> None:
    print(f"allcomers: {line}", file=sys.stderr, flush=True)


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
    command: str, arguments: list[str], start: str, moved: Translation | None = None
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
