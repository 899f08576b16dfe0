"""The sources of options, the weakest first: the platform, a file, the environment, the command line.

    defaults < $PORT, $WEB_CONCURRENCY, $FORWARDED_ALLOW_IPS < file < ALLCOMERS_* < flags

The file is allcomers.toml, or the table [tool.allcomers] in pyproject.toml, of the current folder; --config (and
ALLCOMERS_CONFIG) names another instead. The variables of a platform are weaker than a file, as with gunicorn: they
describe the machine, the file describes this app. Here an option is text with a name; `options` knows its meaning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from allcomers.config import options as configs
from allcomers.config import trusted_files
from allcomers.config.checks import WorkerRange, closest, flag, similar
from allcomers.config.operation_options import HookOptions
from allcomers.config.option import Option
from allcomers.config.options import Config
from allcomers.errors import ConfigError

Given: TypeAlias = str | tuple[str, ...]
"""An option as a user would type it; a tuple for one that is repeatable."""

Layer: TypeAlias = dict[str, tuple[Given, str]]
"""{option: (its value, the origin: "ALLCOMERS_WORKERS")}."""

PREFIX: Final = "ALLCOMERS_"

SECRET: Final = "KEYFILE_PASSWORD"
"""With the prefix, a variable that is no option, so that nothing that shows the options can show it."""

_PLATFORM: Final = {"WEB_CONCURRENCY": "workers", "FORWARDED_ALLOW_IPS": "forwarded_allow_ips"}

_OURS: Final = rb"""(?m)^[ \t]*\[?[ \t]*["']?tool["']?[ \t]*(?:\]|=|\.[ \t]*["']?allcomers)"""
"""Matches a pyproject.toml that may have our table. Most have none, and then no TOML parser is loaded."""

_PYTHON: Final = "{} is Python, and options are read as TOML: `allcomers gunicorn -c` reads it (docs/moving.md)"


class Settings(NamedTuple):
    """All options of a command, and their origins.

    own     the values of the options that only this command has: {"target": "app:app"}
    given   {option: text} of the options that are not at their default
    origin  {option: origin} of the same
    notes   lines for the operator, about values that are not used, and a file that `serve` has found by itself
    paths   folders in which the app's modules are searched first
    hooks   those of another server's file, by its names, and the settings of that file
    """

    command: str
    config: Config
    own: dict[str, Any]
    given: dict[str, Given]
    origin: dict[str, str]
    notes: list[str]
    paths: tuple[str, ...] = ()
    hooks: tuple[Mapping[str, Callable[..., object]], Mapping[str, Any]] | None = None


def gather(
    command: str, flags: Layer, environ: Mapping[str, str], *, file: str = "", weak: Layer | None = None
) -> Settings:
    """Return the settings of `command`, "run" or "serve".

    flags  the options of the command line
    file   the file that --config names
    weak   options that replace a default, and nothing else

    Raises ConfigError, which names the origin of the bad value or the unknown key.
    """
    notes: list[str] = []
    options = {name: option for name, _, option in configs.known(command)}
    named = file or environ.get(f"{PREFIX}CONFIG", "")
    in_file = _file(named, notes)
    layers = [weak or {}, _platform(environ), in_file, _environment(environ, notes), flags]
    found: Layer = {}
    for layer in layers:
        found |= {name: entry for name, entry in layer.items() if name in options}
    if command == "serve" and in_file and not named:
        _confine({name: entry for name, entry in found.items() if entry is in_file.get(name)}, notes)
    given = {name: entry[0] for name, entry in found.items()}
    origin = {name: entry[1] for name, entry in found.items()}
    own = {
        name: configs.checked(option, given[name], origin[name]) if name in given else default
        for name, default, option in configs.OWN[command]
    }
    return Settings(command, configs.make(given, origin), own, given, origin, notes)


def of_keywords(given: Mapping[str, Any]) -> Config:
    """Return the options that a Python program gives, by name: numbers, text, lists, functions for the hooks.

    Raises ConfigError.
    """
    hooks = {name: value for name, value in given.items() if callable(value) and name in HookOptions.table}
    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if name not in hooks
    }
    layer = _layer("Server()", values)
    return configs.make({name: entry[0] for name, entry in layer.items()}, {name: name for name in layer}).but(**hooks)


def _all_options() -> dict[str, Option]:
    """Return the options of both commands, because one file and one environment serve both."""
    return {name: option for command in configs.OWN for name, _, option in configs.known(command)}


# ------------------------------------------------------------ the environment


def _platform(environ: Mapping[str, str]) -> Layer:
    """Return the options that a platform sets. $PORT means all addresses, because its proxy is another machine."""
    layer: Layer = {
        name: (environ[variable], f"${variable}") for variable, name in _PLATFORM.items() if environ.get(variable)
    }
    if port := environ.get("PORT"):
        if not (port.isascii() and port.isdigit()):
            raise ConfigError(f"$PORT: {port!r} is not a port number; --bind is stronger")
        layer["bind"] = ((f"0.0.0.0:{port}",), "$PORT")
    return layer


def _environment(environ: Mapping[str, str], notes: list[str]) -> Layer:
    """Return the options of ALLCOMERS_* that are not empty.

    An unknown one is no error, because others set such variables, too: Kubernetes sets ALLCOMERS_PORT for a service
    called allcomers.
    """
    layer: Layer = {}
    options = _all_options()
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in options:
            layer[name] = (_split(text, options[name]) if options[name].repeats else text, variable)
        elif name != SECRET.lower() and (close := closest(name, options)):
            notes.append(f"{variable} is no option; did you mean {PREFIX}{close.upper()}?")
    return layer


def _split(text: str, option: Option) -> tuple[str, ...]:
    """Return the items of a list: between commas, or on lines of their own for headers, whose values have commas."""
    separator = "\n" if option.value == "NAME:VALUE" else ","
    return tuple(item for item in map(str.strip, text.split(separator)) if item)


# ------------------------------------------------------------ the file


def _file(name: str, notes: list[str]) -> Layer:
    if name:
        if name.startswith("python:"):  # gunicorn's form for a module
            raise ConfigError(_PYTHON.format(name))
        table = _parse(name, _read(name))
        if Path(name).name == "pyproject.toml":
            return _layer(f"{name}: [tool.allcomers]", _in_project(name, table))
        return _layer(name, table)
    own, project = Path("allcomers.toml"), Path("pyproject.toml")
    is_ours = project.is_file() and re.search(_OURS, _read(str(project), Path.read_bytes))
    table = _in_project(str(project), _parse(str(project), _read(str(project)))) if is_ours else {}
    if not own.is_file():
        return _layer("pyproject.toml: [tool.allcomers]", table)
    if table:
        notes.append("allcomers.toml is read, so [tool.allcomers] in pyproject.toml is not")
    return _layer(str(own), _parse(str(own), _read(str(own))))


_PATHS: Final = ("chdir", "dir", "access_log", "pid")
"""Options by which a file could publish another folder, or have another file written."""


def _confine(layer: Layer, notes: list[str]) -> None:
    """Report the file in the current folder from which `serve` takes these options. Raise ConfigError if one of them
    leads out of that folder.

    Who serves a folder that came from elsewhere may not know that it has such a file, and what the file could publish.
    """
    here, base = os.path.realpath("."), "."
    for name in _PATHS:
        value, origin = layer.get(name, ("", ""))
        target = os.path.realpath(os.path.join(base, str(value)))  # noqa: PTH118 - a link in it counts
        if os.path.commonpath((here, target)) != here:
            raise ConfigError(f"{origin}: {value!r} is outside of this folder; {_CONFINED}")
        base = target if name == "chdir" else base
    value, origin = layer.get("log_config", ("", ""))
    if value:
        raise ConfigError(f"{origin}: it can name code to run; {_CONFINED}")
    value, origin = layer.get("follow_links", ("off", ""))
    if flag(str(value)):
        raise ConfigError(f"{origin}: links may lead out of this folder; {_CONFINED}")
    if layer:
        notes.append(f"options are taken from {os.path.join(here, next(iter(layer.values()))[1].partition(':')[0])}")  # noqa: PTH118


_CONFINED: Final = "if that is meant, name the file: --config FILE"


def _read(name: str, read: Callable[[Path], bytes] = lambda path: trusted_files.read(str(path))) -> bytes:
    try:
        return read(Path(name))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}") from None


def _parse(name: str, data: bytes) -> dict[str, Any]:
    if name.endswith(".py"):
        raise ConfigError(_PYTHON.format(name))
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are both
        raise ConfigError(f"{name} is not TOML: {error}") from None


def _in_project(name: str, whole: dict[str, Any]) -> dict[str, Any]:
    tool = whole.get("tool")
    table = tool.get("allcomers", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: tool.allcomers is no table")
    return table


def _layer(file: str, table: dict[str, Any]) -> Layer:
    layer: Layer = {}
    options = _all_options()
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in options:
            raise ConfigError(f"{file}: there is no option {key!r}{similar(name, options)}")
        if name in layer:
            raise ConfigError(f"{file}: {name} is given twice, with - and with _")
        try:
            layer[name] = (_as_typed(options[name], value), f"{file}: {key}")
        except ConfigError as error:
            raise ConfigError(f"{file}: {key}: {error}") from None
    return layer


def _as_typed(option: Option, value: Any) -> Given:
    """Return a value of TOML as a user would type it: 4 is "4", true is "on". Raises ConfigError."""
    if option.repeats and not isinstance(value, list):
        return _split(_word(option, value), option)
    if option.repeats:
        return tuple(_word(option, item) for item in value)
    if isinstance(value, list) and option.value == "LIST":
        return ",".join(_word(option, item) for item in value)
    return _word(option, value)


def _word(option: Option, value: Any) -> str:
    if isinstance(value, bool) and option.check is not str:
        return "on" if value else "off"
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return "0" if value == 0 else str(value)
    kinds = {bool: "true or false", list: "a list", dict: "a table"}
    raise ConfigError(
        f"it is {kinds.get(type(value), 'a date or a time')}, and should be {option.value or 'on or off'}"
    )


# ------------------------------------------------------------ output


def to_toml(settings: Settings) -> str:
    """Return every option as TOML, with its origin in a comment; --config reads the same settings from it.

    An option without a value is only a comment. Raises ConfigError for text that TOML cannot express: a path that is
    not UTF-8.
    """
    lines = [f"# allcomers {settings.command}, all options"]
    group = ""
    for name, default, option in configs.known(settings.command):
        if option.group != group:
            group = option.group
            lines += ["", f"# {group}"]
        value = settings.own[name] if name in settings.own else getattr(settings.config, name)
        comment = _escaped(settings.origin.get(name, "default"))
        is_empty = name not in settings.given and not default and default is not False
        text = "" if is_empty else _value(value, settings.given.get(name, ()))
        lines.append(f"# {name} =  # {comment}: none" if is_empty else f"{name} = {text}  # {comment}")
    return "\n".join(lines) + "\n"


def _value(value: Any, given: Given) -> str:
    """Return `value` as TOML; for a number that was given as a word ("auto", "64M", "1-8"), the word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WorkerRange):
        return f'"{_escaped(given if isinstance(given, str) else str(value))}"'
    if isinstance(value, int | float):
        return f'"{_escaped(given)}"' if isinstance(given, str) and not given[-1:].isdigit() else repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item, ()) for item in value)}]"
    return f'"{_escaped(value)}"'


def _escaped(text: str) -> str:
    r"""Return `text` for the quotes of a basic string (https://toml.io/en/v1.0.0#string): \" \\ \u0007."""
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise ConfigError(f"{text!a} is not UTF-8, so TOML cannot express it")
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
