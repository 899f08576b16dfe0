"""A dict of values of which some come several times: the fields of a query or a form, and its files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class MultiDict(dict[str, T]):
    """Values by name, of which some come several times: a dict of the last of each; `all(name)` lists them.

    pairs  all names and values, as they came
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[str, T]] = ()) -> None:
        self.pairs = list(pairs)
        super().__init__(self.pairs)

    def all(self, name: str) -> list[T]:
        """Return the values called `name`, in their order; empty where there is none."""
        return [value for one, value in self.pairs if one == name]
