"""Colours on a terminal: Select Graphic Rendition (ECMA-48, 8.3.117)."""

from __future__ import annotations

import os
from collections.abc import Mapping


def wanted(fd: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether what is written to the descriptor `fd` is to have colours.

    NO_COLOR (no-color.org) forbids them, FORCE_COLOR or CLICOLOR_FORCE asks for them, in this order, as in Python's own
    tracebacks; else a terminal has them, unless TERM is "dumb".
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return environ.get("TERM") != "dumb" and os.isatty(fd)


def painted(text: str, colour: str) -> str:
    """Return `text` in a colour, the numbers of an SGR: "1;31" is bold and red."""
    return f"\033[{colour}m{text}\033[0m"
