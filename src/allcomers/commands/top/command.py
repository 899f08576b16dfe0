"""The command: a screen in the terminal, updated once a second and by keys until q; elsewhere, the figures once."""

from __future__ import annotations

import json
import os
import re
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from time import monotonic
from typing import Any, Final, TextIO

from allcomers.commands.arguments import print_help
from allcomers.commands.terminal import columns
from allcomers.commands.top.screen import Line, page, screen
from allcomers.commands.top.source import Source
from allcomers.commands.top.view import View
from allcomers.config import sources
from allcomers.errors import ConfigError, SilentError
from allcomers.server.logs import colours

HELP: Final = """\
usage: allcomers top [ADDR] [--once | --json]

Show the live figures of a server in the terminal; ? shows the keys, q or Ctrl-C
leaves.

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
    stats = source.stats()
    painter = Painter(sys.stdout)
    if once:
        print("\n".join(map(painter.line, page(stats, columns(sys.stdout)))))
    else:
        _watch(source, painter, stats)
    return 0


def _watch(source: Source, painter: Painter, stats: dict[str, Any]) -> None:
    """Update the screen until the user leaves; then restore the terminal, in every case."""
    past: deque[dict[str, Any]] = deque([stats], maxlen=120)
    view, trouble, next_at = View(), "", monotonic() + INTERVAL
    with suppress(KeyboardInterrupt), _keys() as pressed, painter.whole_screen():
        while True:
            width, height = get_terminal_size()
            painter.draw(screen(list(past), view, width, height, trouble), width)
            for key in pressed(max(0.0, next_at - monotonic())):
                if key in ("q", "Q"):
                    return
                view.press(key)
            if monotonic() >= next_at:
                try:
                    past.append(source.stats())
                    trouble = ""
                except SilentError as error:
                    trouble = f"{error}; trying again"
                next_at = monotonic() + INTERVAL


class Painter:
    """Lines on a terminal, in colour if it is to have them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._coloured = colours.wanted(out.fileno())

    def line(self, spans: Line, width: int = _WHOLE) -> str:
        """Return the spans, painted, and cut after `width` columns."""
        found = []
        for text, style in spans:
            shown = text[:width]
            width -= len(shown)
            found.append(colours.painted(shown, style) if style and self._coloured and shown.strip() else shown)
        return "".join(found).rstrip()

    def draw(self, lines: Sequence[Line], width: int) -> None:
        """Draw the whole screen: from its top left corner on, each line erased behind its end, and what is below."""
        text = "\x1b[K\r\n".join(self.line(spans, width) for spans in lines)
        self._out.write(f"\x1b[H{text}\x1b[J")
        self._out.flush()

    @contextmanager
    def whole_screen(self) -> Iterator[None]:
        """Use xterm's alternate screen, without a cursor, within the context."""
        self._out.write("\x1b[?1049h\x1b[?25l")
        try:
            yield
        finally:
            self._out.write("\x1b[?25h\x1b[?1049l")
            self._out.flush()


_KEY: Final = re.compile(r"\x1b\[[0-9;]*.|\x1bO.|.", re.DOTALL)
"""A key as a terminal sends it (ECMA-48, 5.4)."""


@contextmanager
def _keys() -> Iterator[Callable[[float], list[str]]]:
    """Yield a function that waits for keys for some seconds and returns them. Keys are not echoed."""
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: _pressed(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def _pressed(fd: int, seconds: float) -> list[str]:
    if not select.select([fd], [], [], seconds)[0]:
        return []
    data = os.read(fd, 1024)
    return _KEY.findall(data.decode("ascii", "replace")) if data else ["q"]  # the terminal was closed


def _wait(seconds: float) -> list[str]:
    select.select([], [], [], seconds)
    return []
