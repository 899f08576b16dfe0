"""A way to wait for many sockets, as the loop knows it."""

from __future__ import annotations

from typing import Protocol


class Poller(Protocol):
    """What a model brings: three verbs, and a page of code in a file of its own, one for each way to ask the kernel.

    most       int: descriptors must be below this
    errs_once  bool: a peer's reset is reported once, perhaps while something is still to be read
    """

    most: int
    errs_once: bool

    def watch(self, fd: int, wants: int) -> None:
        """Report READ and WRITE, as far as `wants` has them; 0 for neither."""
        ...

    def watch_listener(self, fd: int) -> None:
        """Report READ, as for a listener that other processes watch, too."""
        ...

    def forget(self, fd: int) -> None:
        """Report no more; `fd` is about to be closed. Raise nothing, whether or not it was ever watched."""
        ...

    def close(self) -> None:
        """Watch nothing any more."""
        ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return (fd, events) of each that is ready, events as poll(2) numbers them; None waits for ever."""
        ...
