"""Migration: the flags of gunicorn and of uvicorn, translated to ours.

Imported only for a command line that is not understood as it stands, so other starts do not pay for it. Each flag is
translated, or ignored because it is not needed, or refused with an alternative; the first two are reported in a line.
docs/moving.md lists all flags; a test compares it with the tables here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from allcomers.config import options as configs
from allcomers.config.migration import combined, rules
from allcomers.config.migration.flags import GUNICORN_ONLY, RULES
from allcomers.config.migration.result import Reading, Translation, typed
from allcomers.errors import ConfigError

__all__ = ["Translation", "doubts", "read_words", "split_word", "translate"]

_VALUES: Final[dict[tuple[str, str | None], list[str]]] = {
    ("--interface", "asgi3"): ["--interface=asgi"],
    ("--log-level", "trace"): ["--log-level=debug"],
    ("--access-log", None): ["--access-log=-"],
    ("--proxy-protocol", "off"): [],
    ("--proxy-protocol", "auto"): ["--proxy-protocol"],
    ("--proxy-protocol", "v1"): ["--proxy-protocol"],
    ("--proxy-protocol", "v2"): ["--proxy-protocol"],
}
"""Values that only the other servers know, of flags that we share, and their translation."""

_GUNICORN: Final[dict[str, tuple[str, rules.Rule]]] = {
    "-m": (r"\d.*", rules.umask),
    "--umask": (r"0x[0-9a-fA-F]+|[1-9]\d*", rules.umask),
    "-t": ("0", rules.to("--hang-timeout")),
    "--keep-alive": ("0", rules.keep_alive),
}
"""Flags of ours with another meaning in gunicorn: a pattern of values that make sense only there, and their rule."""

_USUAL: Final = ("-b", "--bind", "-w", "--workers")
"""Flags of most command lines of gunicorn, with the same meaning here."""


def translate(arguments: list[str], environ: Mapping[str, str]) -> Translation | None:
    """Return the `arguments` of `run` with all flags translated; None if no flag is of another server.

    Raises ConfigError for a flag that has no equivalent here and cannot be ignored.
    """
    reading = Reading()
    read_words(reading, arguments, {})
    if not reading.translation.lines and not reading.given:
        return None
    for finish in combined.ALL:
        finish(reading, environ)
    return reading.translation


def read_words(reading: Reading, words: Iterable[str], others: Mapping[str, rules.Rule]) -> None:
    """Translate the words of a command line. `others` are rules for flags with a value that come before all else.

    Raises ConfigError.
    """
    rest = list(words)
    while rest:
        item = rest.pop(0)
        if item.startswith("--") or (item.startswith("-") and len(item) > 1):
            flag, value = split_word(item)
            if flag in others:
                others[flag](reading, flag, value if value is not None else _next(flag, rest))
            elif flag in RULES:
                takes_value, rule = RULES[flag]
                if takes_value and value is None:
                    value = _next(flag, rest)
                reading.gunicorn |= flag in GUNICORN_ONLY
                rule(reading, flag, value or "")
            else:
                _own(reading, flag, value if value is not None else _value(flag, rest))
        else:
            reading.translation.has_target = True
            reading.translation.arguments.append(item)


def doubts(arguments: list[str]) -> list[str]:
    """Return warnings about `arguments` of `run` that are all ours, but have another meaning in gunicorn."""
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        item = rest.pop(0)
        if item.startswith("-"):
            flag, value = split_word(item)
            given[flag] = value if value is not None else rest.pop(0) if rest and _takes_value(flag) else ""
    count = given.get("-t", "")
    if given.keys().isdisjoint(_USUAL) or not (count.isdigit() and int(count) >= 25 and int(count) % 5 == 0):
        return []
    return [f"-t {count}: taken as --threads {count}; gunicorn's -t is --timeout"]


def split_word(item: str) -> tuple[str, str | None]:
    """Return (the flag, its value if it is in the same word) of --port=80, of -kgthread."""
    if item.startswith("--"):
        flag, equals, value = item.partition("=")
        return flag, value if equals else None
    return item[:2], item[2:].removeprefix("=") if len(item) > 2 else None


def _next(flag: str, rest: list[str]) -> str:
    if not rest or (rest[0].startswith("-") and rest[0] != "-"):
        raise ConfigError(f"{flag}: expected one argument (see docs/moving.md)")
    return rest.pop(0)


def _value(flag: str, rest: list[str]) -> str | None:
    """Return the value that follows a flag of ours; None for a switch, and for a flag that is a switch elsewhere."""
    if flag == "--proxy-protocol":  # gunicorn's, with or without a value
        return rest.pop(0) if rest and (flag, rest[0]) in _VALUES else None
    if flag == "--access-log" and (not rest or (rest[0].startswith("-") and rest[0] != "-")):
        return None  # uvicorn's, which is a switch
    return _next(flag, rest) if _takes_value(flag) else None


def _takes_value(flag: str) -> bool:
    """Whether this flag of ours has a value."""
    return flag == "--config" or any(flag in option.flags and option.value for _, _, option in configs.options())


def _own(reading: Reading, flag: str, value: str | None) -> None:
    """Keep a flag of ours, or an unknown one, which argparse refuses; translate a value that only others know."""
    theirs = _GUNICORN.get(flag)
    if theirs is not None and re.fullmatch(theirs[0], value or ""):
        reading.gunicorn = True
        theirs[1](reading, flag, value or "")
        return
    other = _VALUES.get((flag, value))
    if other is None:
        reading.ours[flag] = value or ""
        reading.translation.arguments.append(flag if value is None else f"{flag}={value}")
        return
    ours = " ".join(other).replace("=", " ")
    reading.report(f"{typed(flag, value or '')}: {f'taken as {ours}' if ours else 'ignored, it is the default'}")
    reading.translation.arguments += other
