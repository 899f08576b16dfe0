"""`allcomers load`: the options read, the load carried out, its result shown, and what the exit status says of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from allcomers import load
from allcomers.errors import OperatorError
from allcomers.load import options
from allcomers.load.options import Outputs
from allcomers.load.result import Result


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0; 1 where nothing was answered. Raises ConfigError."""
    plan, outputs = options.read(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    result = load.run(plan)
    _write(result, outputs)
    return 0 if result.answered else 1


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write(result: Result, outputs: Outputs) -> None:
    if outputs.json:
        _file(outputs.json, result.to_json() + "\n")


def _file(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot write {path!r}: {getattr(error, 'strerror', None) or error}") from None
