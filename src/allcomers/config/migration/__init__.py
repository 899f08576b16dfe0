"""Moving over: the flags of gunicorn and of uvicorn, as far as they mean something here.

Imported only where a command line is not understood as it stands, so nobody else pays for it. Each flag is taken for
one of ours, or is ignored because it is not needed, or is refused with what to do instead; all but the last say so in a
line. docs/moving.md has them all; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from allcomers.config import options as configs
from allcomers.config.migration import combined, rules
from allcomers.config.migration.flags import GUNICORN_ONLY, RULES
from allcomers.config.migration.result import Reading, Translation, typed
from allcomers.errors import ConfigError

__all__ = ["Translation", "doubts", "translate"]

_VALUES: Final[dict[tuple[str, str | None], list[str]]] = {
    ("--interface", "asgi3"): ["--interface=asgi"],
    ("--log-level", "trace"): ["--log-level=debug"],
    ("--access-log", None): ["--access-log=-"],
    ("--proxy-protocol", "off"): [],
    ("--proxy-protocol", "auto"): ["--proxy-protocol"],
    ("--proxy-protocol", "v1"): ["--proxy-protocol"],
    ("--proxy-protocol", "v2"): ["--proxy-protocol"],
}
"""Values that only the others know, of flags that we have, too: what they are here."""


_GUNICORN: Final[dict[str, tuple[str, rules.Rule]]] = {
    "-m": (r"\d.*", rules.umask),
    "-t": ("0", rules.to("--hang-timeout")),
}
"""Short flags that mean something else in gunicorn: values that only make sense there, and what is done with them."""

_USUAL: Final = ("-b", "--bind", "-w", "--workers")
"""Flags that most command lines of gunicorn have, and that are the same here."""


def translate(arguments: list[str], environ: Mapping[str, str]) -> Translation | None:
    """`arguments` of `run` with the flags of others in our words; None where there are none.

    Raises ConfigError for a flag that has no equal here and cannot be ignored.
    """
    reading = Reading()
    rest = list(arguments)
    while rest:
        item = rest.pop(0)
        if item.startswith("--") or (item.startswith("-") and len(item) > 1):
            flag, value = _parted(item)
            if flag in RULES:
                takes_value, rule = RULES[flag]
                if takes_value and value is None:
                    value = _next(flag, rest)
                reading.gunicorn |= flag in GUNICORN_ONLY
                rule(reading, flag, value or "")
            else:
                _own(reading, flag, value if value is not None else _value(flag, rest))
        else:
            reading.moved.arguments.append(item)
    if not reading.moved.lines and not reading.given:
        return None
    for finish in combined.ALL:
        finish(reading, environ)
    return reading.moved


def doubts(arguments: list[str]) -> list[str]:
    """Return lines about `arguments` of `run`, all of them ours, that mean something else to gunicorn's users."""
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        item = rest.pop(0)
        if item.startswith("-"):
            flag, value = _parted(item)
            given[flag] = value if value is not None else rest.pop(0) if rest and _takes_value(flag) else ""
    count = given.get("-t", "")
    if given.keys().isdisjoint(_USUAL) or not (count.isdigit() and int(count) >= 25 and int(count) % 5 == 0):
        return []
    return [f"-t {count}: taken as --threads {count}; gunicorn's -t is --timeout"]


def _parted(item: str) -> tuple[str, str | None]:
    """(flag, its value if that is part of the same word): --port=80, -kgthread."""
    if item.startswith("--"):
        flag, equals, value = item.partition("=")
        return flag, value if equals else None
    return item[:2], item[2:].removeprefix("=") if len(item) > 2 else None


def _next(flag: str, rest: list[str]) -> str:
    if not rest or (rest[0].startswith("-") and rest[0] != "-"):
        raise ConfigError(f"{flag}: expected one argument (see docs/moving.md)")
    return rest.pop(0)


def _value(flag: str, rest: list[str]) -> str | None:
    """What follows a flag of ours as its value; None for one that takes none, or has none by others' rules."""
    if flag == "--proxy-protocol":  # gunicorn's, with or without
        return rest.pop(0) if rest and (flag, rest[0]) in _VALUES else None
    if flag == "--access-log" and (not rest or (rest[0].startswith("-") and rest[0] != "-")):
        return None  # uvicorn's, which is on or off
    return _next(flag, rest) if _takes_value(flag) else None


def _takes_value(flag: str) -> bool:
    """Whether this flag of ours has a value."""
    return flag == "--config" or any(flag in option.flags and option.value for _, _, option in configs.options())


def _own(reading: Reading, flag: str, value: str | None) -> None:
    """A flag of ours, or one that nobody knows: argparse will say so. Some have values that only others know."""
    theirs = _GUNICORN.get(flag)
    if theirs is not None and re.fullmatch(theirs[0], value or ""):
        reading.gunicorn = True
        theirs[1](reading, flag, value or "")
        return
    other = _VALUES.get((flag, value))
    if other is None:
        reading.ours[flag] = value or ""
        reading.moved.arguments.append(flag if value is None else f"{flag}={value}")
        return
    taken = " ".join(other).replace("=", " ")
    reading.say(f"{typed(flag, value or '')}: {f'taken as {taken}' if taken else 'ignored, it is the default'}")
    reading.moved.arguments += other
