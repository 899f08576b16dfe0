"""The limit of descriptors of this process (RLIMIT_NOFILE, getrlimit(2)), and whether any are left for a peer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from allcomers.errors import ConfigError

SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of a process, or of a system, that has no descriptor left."""

MOST: Final = -1
"""As the limit that is wanted: the hard limit."""

RESERVE: Final = 256
"""Descriptors at most that are kept from peers: for files that are sent or spooled, and for what apps open. A
sixteenth of the limit where that is less."""

_LEAST: Final = 16

_SPARE: Final = 64
"""Descriptors that must be free below the old limit for a copy of this process to have that again."""

FEW: Final = 4096
"""A limit below this is worth telling: at the default of most systems, 1,024, it is the least of all limits."""

_NO_LIMIT: Final = 1 << 30


def limits() -> tuple[int, int]:
    """Return the number of descriptors that this process may have, and the most to which it may raise that."""
    import resource  # late: a process that does not ask does without

    soft, hard = (
        _NO_LIMIT if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def told(wanted: int) -> str:
    """Return a line about the limit of a worker with the option --descriptors `wanted`; "" for one of no interest."""
    soft, hard = limits()
    if wanted:
        return f"Descriptors: {hard if wanted == MOST else wanted:,} for each worker"
    if soft >= FEW:
        return ""
    more = f"; --descriptors max gives {hard:,}" if hard > soft else ""
    return f"Descriptors: {soft:,} for each worker{more}"


def set_limit(wanted: int) -> None:
    """Let this process have `wanted` descriptors, or as many as the hard limit allows for MOST; root raises that, too.

    A copy of this process (fork(2)) has the old limit again, unless so many descriptors are open in it that it could
    open none: so a program that the copy becomes (execve(2)) has it, too. Raises ConfigError.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    new = hard if wanted == MOST else wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard if hard == resource.RLIM_INFINITY else max(hard, new)))
    except (ValueError, OSError):
        reason = "only root may raise that, up to fs.nr_open (Linux)"
        raise ConfigError(f"--descriptors {wanted}: the hard limit is {hard} (ulimit -Hn), and {reason}") from None
    if not _limits:
        os.register_at_fork(after_in_child=_restore)
    _limits[:] = [soft, new]


_limits: list[int] = []
"""The soft limit before set_limit(), and the one that it set; empty before."""


def _restore() -> None:
    """Give a forked process the old limit, if it can open something below that."""
    if lowest_free() + _SPARE <= _limits[0]:
        _set_soft(_limits[0])


def keep_limit() -> None:
    """Give a forked process that serves peers the limit of set_limit() again."""
    if _limits:
        _set_soft(_limits[1])


def _set_soft(limit: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def lowest_free() -> int:
    """Return the number of the next descriptor; one above all limits where there is none."""
    try:
        fd = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _NO_LIMIT
    os.close(fd)
    return fd


class DescriptorRoom:
    """Whether descriptors are left for another peer, beside a reserve for all else.

    A new descriptor has the lowest number that is free (open(2)), so one above a line shows that all below are taken,
    by whomever. Until a peer has had such a one, to know that costs a peer one comparison; from then on, another
    descriptor for a moment.

    most  descriptors beside the limit that the model can watch
    """

    def __init__(self, most: int) -> None:
        top = min(limits()[0], most)
        self._line = top - min(RESERVE, max(_LEAST, top // 16))
        self._is_near = False  # the line was reached once

    def took(self, fd: int) -> None:
        """Note the descriptor of a peer that was accepted."""
        if fd >= self._line:
            self._is_near = True

    def is_left(self) -> bool:
        """Return whether another peer may have a descriptor."""
        return not self._is_near or lowest_free() < self._line


# ------------------------------------------------------------ shortages

_report: list[Callable[[], object]] = []


def on_shortage(action: Callable[[], object] | None) -> None:
    """Call `action`, in any thread, when code of this process finds no descriptor left; None for nothing."""
    _report[:] = [action] if action is not None else []


def note(error: BaseException) -> None:
    """Report a shortage if `error` is of one."""
    if isinstance(error, OSError) and error.errno in SHORT:
        for action in _report:
            action()
