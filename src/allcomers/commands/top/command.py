"""The command: a screen of its own in the terminal, once a second, until q or Ctrl-C; elsewhere, the figures once."""

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

from allcomers.commands.top.ask import Source
from allcomers.config import sources
from allcomers.errors import ConfigError, SilentError

if TYPE_CHECKING:
    from rich.console import Console

HELP: Final = """\
usage: allcomers top [ADDR] [--once | --json]

The live figures of a server in the terminal; q or Ctrl-C leaves.

ADDR is what the server has as --admin, HOST:PORT or unix:PATH; by default what
its options here say (ALLCOMERS_ADMIN, allcomers.toml, pyproject.toml).

  --once   print them once, and end
  --json   print what /stats.json says, once

Ends with 1 if nobody answers.
"""

EVERY: Final = 1.0

NEEDS_RICH: Final = "allcomers top needs rich: pip install 'allcomers[admin]' (--json does without)"


def main(arguments: Sequence[str]) -> int:
    """Show the figures; return 0. Raises ConfigError, SilentError."""
    if "-h" in arguments or "--help" in arguments:
        print(HELP, end="")
        return 0
    known = ("--once", "--json")
    words = [word for word in arguments if word not in known]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ConfigError(f"allcomers top takes one address, {' and '.join(known)} (see allcomers top --help)")
    address = words[0] if words else _default_address()
    if not address:
        raise ConfigError("where is the server? allcomers top HOST:PORT, with what it has as --admin")
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

    console = Console(highlight=False)
    stats = source.stats()
    if once:
        console.print(page(stats))
    else:
        _watch(source, console, stats)
    return 0


def _watch(source: Source, console: Console, stats: dict[str, Any]) -> None:
    """Until somebody leaves. The terminal is as it was, however that happens."""
    from rich.live import Live

    from allcomers.commands.top.screen import screen

    past: deque[dict[str, Any]] = deque([stats], maxlen=120)
    trouble = ""
    try:
        with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(list(past), console.width, trouble), refresh=True)
                if pressed(EVERY) in ("q", "Q"):
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
    """What waits for a key for so many seconds, and says which; "" for none. Keys are not echoed meanwhile."""
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: _key(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _key(fd: int, seconds: float) -> str:
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            return os.read(fd, 1).decode("ascii", "replace") or "q"  # the terminal is gone
    return ""


def _wait(seconds: float) -> str:
    select.select([], [], [], seconds)
    return ""
