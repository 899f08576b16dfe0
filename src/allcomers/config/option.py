"""One option of the table, and a group of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple


class Option(NamedTuple):
    """The flags, the texts and the check of an option.

    A repeatable option collects a tuple. One with an empty `value` is a switch: its flag turns it on, the flag with
    --no- in front turns it off.
    """

    group: str
    flags: tuple[str, ...]
    value: str
    help: str
    why: str
    check: Callable[[str], Any] = str
    repeats: bool = False


class _Unnamed(NamedTuple):
    default: Any
    option: Option


def option(default: Any, flags: str, value: str, help: str, why: str, check: Callable[[str], Any] = str) -> Any:
    """Return an entry of a group of options: once the class stands, its attribute is the default."""
    return _Unnamed(default, Option("", tuple(flags.split()), value, help, why, check, isinstance(default, tuple)))


class Options:
    """A group of options: each attribute that option() made is one, and has its default as its value."""

    table: ClassVar[dict[str, tuple[Any, Option]]] = {}
    """(default, Option) of each option of the group, by name, in order."""

    def __init_subclass__(cls, group: str = "") -> None:
        """Take the entries of the class into its table."""
        cls.table = {}
        for name, entry in list(vars(cls).items()):
            if isinstance(entry, _Unnamed):
                cls.table[name] = (entry.default, entry.option._replace(group=group))
                setattr(cls, name, entry.default)
