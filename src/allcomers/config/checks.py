"""Checks of options: each takes the text of an option and returns its value.

All raise ConfigError, which does not name the option: the caller knows by which name it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from allcomers.errors import ConfigError


def integer(least: int, most: int = 1 << 31) -> Callable[[str], int]:
    """Return a check for a whole number from `least` to `most`."""

    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise ConfigError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return check


def seconds(text: str) -> float:
    """Check a time above 0: "2.5"."""
    return _number(text, "a number of seconds above 0")


def never_or_seconds(text: str) -> float:
    """Check a time: "2.5"; 0 for never."""
    return 0.0 if text == "0" else _number(text, "a number of seconds, or 0")


def rate(text: str) -> float:
    """Check a number of bytes per second; 0 for no limit."""
    return 0.0 if text == "0" else _number(text, "a number of bytes per second, or 0")


def _number(text: str, noun: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigError(f"{text!r} is not {noun}")
    return value


def size(text: str) -> int:
    """Check a number of bytes: "1000", "32K", "64M", "2G"."""
    number, unit = (text[:-1], text[-1].upper()) if text and not text[-1].isdigit() else (text, "")
    factor = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit)
    if factor is None or not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise ConfigError(f"{text!r} is not a size: a number of bytes, or one with K, M or G behind it")
    return int(number) * factor


def choice(*names: str) -> Callable[[str], str]:
    """Return a check for one of `names`."""

    def check(text: str) -> str:
        if text not in names:
            raise ConfigError(f"{text!r} is not known; choose one of {', '.join(names)}")
        return text

    return check


def level(text: str) -> str:
    """Check a level of the log, in upper or lower case."""
    return choice("debug", "info", "warning", "error", "critical")(text.lower())


def model_name(text: str) -> str:
    """Check that `text` can be the name of a model. The folder models knows which there are."""
    if text[:1].isdigit():
        raise ConfigError(f"{text!r} is not a name: see `allcomers models`")
    return text


def flag(text: str) -> bool:
    """Check the value of a switch, an option without a value on the command line: "on", "off" and synonyms."""
    known = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ConfigError(f"{text!r} is neither on nor off")
    return known[text.lower()]


def worker_count(text: str) -> int:
    """Check a number of processes; "auto" is the number of cores that this process may use."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer(1, 1024)(text)


def check_account(user: str, group: str) -> None:
    """Raise ConfigError unless this process may run as `user` and `group`: only root may change (setuid(2))."""
    if os.geteuid() == 0 or not (user or group):
        return
    import grp
    import pwd

    own_user, own_group = os.geteuid(), os.getegid()
    for option, wanted, number, look_up in (
        ("--user", user, own_user, partial(pwd.getpwuid, own_user)),
        ("--group", group, own_group, partial(grp.getgrgid, own_group)),
    ):
        try:
            name = str(look_up()[0])
        except KeyError:  # a container's user may have no name
            name = str(number)
        if wanted not in ("", name, str(number)):
            raise ConfigError(f"{option} {wanted} needs root, and this is {name}: start as root, or leave it out")
