"""Checks of options: each takes the text of an option and returns its value.

All raise ConfigError, which does not name the option: the caller knows by which name it was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from allcomers.errors import ConfigError

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""Levels of the log."""


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


def closest(word: str, words: Iterable[str], least: float = 0.75) -> str:
    """Return the one of `words` that is most like `word`, by a ratio of `least` on; "" if none is."""
    import difflib  # late: for an error only

    return next(iter(difflib.get_close_matches(word, words, 1, least)), "")


def similar(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean 'epoll'?" for the one of `words` that is like `word`; "" for none."""
    found = closest(word, words, 0.6)
    return f"; did you mean {found!r}?" if found else ""


def choice(*names: str) -> Callable[[str], str]:
    """Return a check for one of `names`."""
    return partial(_chosen, names)


def _chosen(names: tuple[str, ...], text: str) -> str:
    if text not in names:
        raise ConfigError(f"{text!r} is not known; choose one of {', '.join(names)}{similar(text, names)}")
    return text


def choices(check: Callable[[str], Any]) -> tuple[str, ...]:
    """Return the names that `check` takes, made by choice(); () for another one."""
    names: tuple[str, ...] = check.args[0] if isinstance(check, partial) and check.func is _chosen else ()
    return LEVELS if check is level else names


def static_folder(text: str) -> str:
    """Check a path of a site and a folder: "/static=public"."""
    path, equals, folder = text.partition("=")
    names = path.rstrip("/").split("/")[1:]
    if not (equals and folder and path.startswith("/") and names):
        raise ConfigError(f"{text!r} is not PATH=DIR, as in /static=public")
    if any(name in ("", ".", "..") for name in names) or re.search(r"[%?#*<>{}\s]", path):
        raise ConfigError(f"{text!r}: {path!r} is no plain path, decoded and without . and ..")
    return text


def file_mode(text: str) -> str:
    """Check the permissions of a file, in octal."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ConfigError(f"{text!r} is not a mode in octal, such as 660")
    return text


def mask(text: str) -> str:
    """Check a umask, in octal. The zero in front is required: 22 is octal for some, and decimal for gunicorn."""
    if not re.fullmatch(r"0|0o?[0-7]{1,3}", text):
        raise ConfigError(f"{text!r} is not a mask in octal with a zero in front, such as 022")
    return text


_FRAMING: Final = ("connection", "content-length", "date", "keep-alive", "trailer", "transfer-encoding", "upgrade")
"""Fields that the server makes for each response."""


def header_field(text: str) -> str:
    """Check a field of a response, "NAME:VALUE" (RFC 9110, 5.1 and 5.5); return it without space around the value."""
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ConfigError(f"{text!r} is not NAME:VALUE, as in X-Frame-Options:DENY")
    if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value):
        raise ConfigError(f"the value of {name} has a character that no header can carry: {value!r}")
    if name.lower() in _FRAMING:
        raise ConfigError(f"{name} is the server's own: each response has its value")
    return f"{name}:{value}"


def hook_name(text: str) -> str:
    """Check the name of a hook, "module:function"; "" for none."""
    if text and not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text):
        raise ConfigError(f"{text!r} is not MODULE:FUNCTION, as in hooks:prepare")
    return text


def level(text: str) -> str:
    """Check a level of the log, in upper or lower case."""
    return _chosen(LEVELS, text.lower())


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


MOST_WORKERS: Final = 1024


class WorkerRange(int):
    """A number of workers that changes by demand. As a number it is the most: what is made for that many is enough.

    least  the fewest
    """

    least: int

    def __new__(cls, least: int, most: int) -> WorkerRange:
        new = super().__new__(cls, most)
        new.least = least
        return new

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a range with the same ends: a fixed number is none."""
        return isinstance(other, WorkerRange) and (self.least, int(self)) == (other.least, int(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __str__(self) -> str:
        return f"{self.least}-{int(self)}"

    __repr__ = __str__


def worker_count(text: str) -> int:
    """Check a number of processes, or a range of them: "4", "1-8"; "auto" is the number of cores that this process may
    use. In a range it gives way to the other end, which is the same on all machines."""
    least, dash, most = text.partition("-")
    if not (least and dash):
        return _workers(text)
    first, last = _workers(least), _workers(most)
    if first > last and "auto" not in (least, most):
        raise ConfigError(f"{text!r} is not a range: {first} is more than {last}")
    if least == "auto":
        first = min(first, last)
    return WorkerRange(first, last) if first < last else first


def _workers(text: str) -> int:
    return cores() if text == "auto" else integer(1, MOST_WORKERS)(text)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def descriptor_count(text: str) -> int:
    """Check a number of descriptors; "max", as -1, is the hard limit (getrlimit(2))."""
    return -1 if text == "max" else integer(64)(text)


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


def is_loopback(host: str) -> bool:
    """Return whether a host, an address or a name, is this machine alone: no other can connect to it."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    from ipaddress import ip_address  # late: it takes 3 ms, and few servers need it

    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
