"""The command: a screen in the terminal, updated once a second until q or Ctrl-C; elsewhere, the figures once."""

from __future__ import annotations

import json
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers.commands.arguments import print_help
from allcomers.commands.terminal import columns
from allcomers.commands.top.source import Source
from allcomers.config import sources
from allcomers.errors import ConfigError, SilentError

if TYPE_CHECKING:
    from rich.console import Console

HELP: Final = """\
usage: allcomers top [ADDR] [--once | --json]

Show the live figures of a server in the terminal; q or Ctrl-C leaves.

ADDR is the server's --admin, HOST:PORT or unix:PATH; by default the one that is
set here (ALLCOMERS_ADMIN, allcomers.toml, pyproject.toml).

  --once   print the figures once, and end
  --json   print /stats.json once, and end

Ends with 1 if no server responds.
"""

INTERVAL: Final = 1.0
"""Seconds between two updates."""

_WHOLE: Final = 10_000
"""Columns of a pipe: more than any line has."""

NEEDS_RICH: Final = "allcomers top needs rich: pip install 'allcomers[admin]' (--json does not)"


def main(arguments: Sequence[str]) -> int:
    """Show the figures; return 0. Raises ConfigError, SilentError."""
    if "-h" in arguments or "--help" in arguments:
        print_help(HELP)
        return 0
    switches = ("--once", "--json")
    words = [word for word in arguments if word not in switches]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ConfigError(f"allcomers top takes one address, {' and '.join(switches)} (see allcomers top --help)")
    address = words[0] if words else _default_address()
    if not address:
        raise ConfigError("the address is missing: allcomers top HOST:PORT, the --admin of the server")
    source = Source(address)
    if "--json" in arguments:
        print(json.dumps(source.stats(), indent=2))
        return 0
    return _show(source, once="--once" in arguments or not sys.stdout.isatty())


def _default_address() -> str:
    """Return the --admin that files and the environment set here; "" for none."""
    return sources.gather("run", {}, os.environ).config.admin


def _show(source: Source, once: bool) -> int:
    try:
        from rich.console import Console
    except ImportError:
        raise ConfigError(NEEDS_RICH) from None
    from allcomers.commands.top.screen import page

    stats = source.stats()
    if once:
        width = columns(sys.stdout)
        console = Console(highlight=False, width=width or _WHOLE)
        console.print(page(stats, width), soft_wrap=width is None)
    else:
        _watch(source, Console(highlight=False), stats)
    return 0


def _watch(source: Source, console: Console, stats: dict[str, Any]) -> None:
    """Update the screen until the user leaves; then restore the terminal, in every case."""
    from rich.live import Live

    from allcomers.commands.top.screen import screen

    past: deque[dict[str, Any]] = deque([stats], maxlen=120)
    trouble = ""
    try:
        with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(list(past), console.width, trouble), refresh=True)
                if pressed(INTERVAL) in ("q", "Q"):
                    return
                try:
                    past.append(source.stats())
                    trouble = ""
                except SilentError as error:
                    trouble = f"{error}; trying again"
    except KeyboardInterrupt:
        pass


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits for a key for some seconds and returns it, "" for none. Keys are not echoed."""
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: _key(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def _key(fd: int, seconds: float) -> str:
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            return os.read(fd, 1).decode("ascii", "replace") or "q"  # the terminal was closed
    return ""


def _wait(seconds: float) -> str:
    select.select([], [], [], seconds)
    return ""
