"""A set of descriptors: small numbers, which the kernel uses again as they are free, so a byte each will do.

PERF: a set of Python's holds an int object and two words for each, 84 bytes with 10,000 of them (sys.getsizeof).
"""

from __future__ import annotations

from typing import Final

_STEP: Final = 64


class Descriptors:
    """A set with `fd in it`, add and remove."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks = bytearray()

    def __contains__(self, fd: int) -> bool:
        return fd < len(self._marks) and self._marks[fd] == 1

    def add(self, fd: int) -> None:
        missing = fd + 1 - len(self._marks)
        if missing > 0:
            self._marks.extend(bytes(missing + _STEP))
        self._marks[fd] = 1

    def remove(self, fd: int) -> None:
        self._marks[fd] = 0
