"""`allcomers gunicorn` and `allcomers uvicorn`: a whole command line of theirs, with their files and variables.

Unlike with `run`, a flag that both have is theirs: gunicorn's -t is --timeout.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from allcomers.config import migration
from allcomers.config.checks import flag as switch
from allcomers.config.migration import combined, gunicorn_file, rules
from allcomers.config.migration.flags import UVICORN
from allcomers.config.migration.result import Reading, Translation
from allcomers.errors import ConfigError

_GUNICORN: Final[dict[str, rules.Rule]] = {
    "-t": rules.to("--hang-timeout"),
    "-m": rules.umask,
    "-c": lambda reading, flag, value: None,
    "--config": lambda reading, flag, value: None,
}
"""Short flags of gunicorn's that are others here, and its file, which is read before."""

_REPEATED: Final = ({"-b", "--bind"}, {"--certfile"}, {"--keyfile"})
"""Flags that add up here, of which a stronger source replaces those of a weaker one."""

PREFIX: Final = "UVICORN_"


def of_gunicorn(arguments: list[str], environ: Mapping[str, str]) -> Translation:
    """Return gunicorn's `arguments` with our flags: after those of its file, and of GUNICORN_CMD_ARGS.

    Raises ConfigError for a flag without an equivalent; a setting of the file without one is reported.
    """
    try:
        variable = shlex.split(environ.get("GUNICORN_CMD_ARGS", ""))
    except ValueError as error:
        raise ConfigError(f"GUNICORN_CMD_ARGS: {error}") from None
    words = _without(variable, arguments) + arguments
    reading = Reading(gunicorn=True, is_mover=True)
    name = _file(words)
    if name:
        _settings(reading, gunicorn_file.read(name), words)
    migration.read_words(reading, words, _GUNICORN)
    found = reading.translation
    if found.file is not None and found.file.target and not found.has_target:
        found.arguments.append(found.file.target)
    for finish in combined.ALL:
        finish(reading, environ)
    return found


def of_uvicorn(arguments: list[str], environ: Mapping[str, str]) -> Translation:
    """Return uvicorn's `arguments` with our flags, after those of UVICORN_*. Raises ConfigError."""
    reading = Reading(is_mover=True)
    migration.read_words(reading, _of_variables(environ) + arguments, {})
    for finish in combined.ALL:
        finish(reading, environ)
    return reading.translation


def _file(words: list[str]) -> str:
    """Return the name of gunicorn's file: the last of -c, or the usual one if it is there; else ""."""
    name = gunicorn_file.DEFAULT if Path(gunicorn_file.DEFAULT).is_file() else ""
    for at, word in enumerate(words):
        flag, value = migration.split_word(word)
        if flag in ("-c", "--config"):
            name = value if value is not None else words[at + 1] if at + 1 < len(words) else ""
    return name


def _settings(reading: Reading, file: gunicorn_file.GunicornFile, words: list[str]) -> None:
    """Translate the settings of a file; report those that have no equivalent in one line, the others in another."""
    reading.translation.file = file
    left_out = list(file.left_out)
    for name, given in file.words.items():
        try:
            migration.read_words(reading, _without(given, words), _GUNICORN)
        except ConfigError:
            left_out.append(name)
    reading.translation.lines.clear()
    if ours := reading.translation.arguments:
        shown = " ".join(word.replace("=", " ", 1) for word in ours)
        reading.report(f"{file.name}: taken as {shown}")
    if left_out:
        reading.report(f"{file.name}: left out, for there is no equivalent: {', '.join(left_out)} (docs/moving.md)")


def _without(weaker: Iterable[str], stronger: Iterable[str]) -> list[str]:
    """Return the words of a weaker source without flags of _REPEATED that a stronger one has."""
    given = {migration.split_word(word)[0] for word in stronger}
    dropped = {flag for group in _REPEATED if group & given for flag in group}
    kept, skips = [], False
    for word in weaker:
        flag, value = migration.split_word(word)
        if skips or flag in dropped:
            skips = not skips and value is None
            continue
        kept.append(word)
    return kept


def _of_variables(environ: Mapping[str, str]) -> list[str]:
    """Return UVICORN_PORT=80 as --port=80, UVICORN_RELOAD=1 as --reload (click's auto_envvar_prefix)."""
    words = []
    switches = {*_SWITCHES, *(key for key in UVICORN if " " not in key)}  # those with a value have its name behind
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or not text:
            continue
        flag = "--" + variable.removeprefix(PREFIX).lower().replace("_", "-")
        if flag in switches:
            try:
                is_on = switch(text)
            except ConfigError as error:
                raise ConfigError(f"{variable}: {error}") from None
            negative = f"--no-{flag.removeprefix('--')}"
            words += [flag] if is_on else [negative] if flag in _WITH_NO else []
        elif flag in _SEVERAL:
            words += [f"{flag}={item}" for item in text.split()]
        else:
            words.append(f"{flag}={text}")
    return words


_SWITCHES: Final = ("--reload", "--factory", "--access-log", "--server-header", "--date-header")
"""Switches of uvicorn's with a name that is ours, too."""

_WITH_NO: Final = ("--access-log", "--server-header", "--date-header", "--proxy-headers", "--use-colors")
_SEVERAL: Final = ("--reload-dir", "--reload-include", "--reload-exclude")
