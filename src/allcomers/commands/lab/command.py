"""`allcomers lab`: handle signals, then run a session; or compare the results of two."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from allcomers.commands.lab.data.options import CompareOptions, read
from allcomers.commands.lab.run.journal import UNFINISHED

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0; 1 if nothing could be measured, 130 after Ctrl-C. Raises OperatorError."""
    options = read(arguments)
    if isinstance(options, CompareOptions):
        from allcomers.commands.lab.report import comparison

        return comparison.run(options)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="allcomers-lab-") as folder:
            from allcomers.commands.lab.session import run

            command = shlex.join(argument for argument in arguments if argument != "--resume")
            return run(options, f"allcomers lab {command}", Path(folder))
    except KeyboardInterrupt:
        rest = f"; --resume continues from {options.out}" if (options.out / UNFINISHED).exists() else ""
        print(f"\nallcomers: interrupted{rest}", file=sys.stderr)
        return INTERRUPTED


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
