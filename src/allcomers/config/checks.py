"""What an option's text may be: each check gives the value, or says in a line why there is none.

All raise ConfigError, which does not name the option: who asks knows what it was called.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from allcomers.errors import ConfigError


def integer(least: int, most: int = 1 << 31) -> Callable[[str], int]:
    """A check for a whole number between two."""

    def check(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise ConfigError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return check


def seconds(text: str) -> float:
    """A check for a time: "2.5"; above 0."""
    return _number(text, "a number of seconds above 0")


def never_or_seconds(text: str) -> float:
    """A check for a time: "2.5"; 0 for never."""
    return 0.0 if text == "0" else _number(text, "a number of seconds, or 0")


def rate(text: str) -> float:
    """A check for bytes per second; 0 for none asked."""
    return 0.0 if text == "0" else _number(text, "a number of bytes per second, or 0")


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigError(f"{text!r} is not {what}")
    return value


def size(text: str) -> int:
    """A check for a number of bytes: "1000", "32K", "64M", "2G"."""
    number, unit = (text[:-1], text[-1].upper()) if text and not text[-1].isdigit() else (text, "")
    factor = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit)
    if factor is None or not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise ConfigError(f"{text!r} is not a size: a number of bytes, or one with K, M or G behind it")
    return int(number) * factor


def choice(*names: str) -> Callable[[str], str]:
    """A check for one of some names."""

    def check(text: str) -> str:
        if text not in names:
            raise ConfigError(f"{text!r} is not known; choose one of {', '.join(names)}")
        return text

    return check


def level(text: str) -> str:
    """A check for a level of the log, in capitals or not."""
    return choice("debug", "info", "warning", "error", "critical")(text.lower())


def model_name(text: str) -> str:
    """A check for what may be a model's name. Which there are is known by `models`."""
    if text[:1].isdigit():
        raise ConfigError(f"{text!r} is no name: see `allcomers models`")
    return text


def flag(text: str) -> bool:
    """A check for what is on or off: an option without a value on the command line."""
    known = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ConfigError(f"{text!r} is neither on nor off")
    return known[text.lower()]


def worker_count(text: str) -> int:
    """A check for a number of processes; "auto" for the cores that this process may use."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer(1, 1024)(text)
