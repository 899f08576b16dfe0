"""`allcomers lab`: what is needed is there, signals are ours; from then on it is a session."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

from allcomers.commands.lab.data.options import read
from allcomers.errors import ConfigError

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""

_NEEDS: Final = ("numpy", "scipy", "rich")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0; 1 where nothing could be measured, 130 after Ctrl-C. Raises OperatorError."""
    options = read(arguments)
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the lab needs {', '.join(missing)}: pip install 'allcomers[lab]'")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="allcomers-lab-") as folder:
            from allcomers.commands.lab.session import run

            typed = shlex.join(word for word in arguments if word != "--resume")
            return run(options, f"allcomers lab {typed}", Path(folder))
    except KeyboardInterrupt:
        print(f"\nallcomers: interrupted; --resume goes on where {options.out} ends", file=sys.stderr)
        return INTERRUPTED


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
