"""`allcomers load`: the options read, the load carried out, its result shown, and what the exit status says of it."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from allcomers.commands import load
from allcomers.commands.load.data import options, slo
from allcomers.commands.load.data.histogram import write_hgrm
from allcomers.commands.load.data.options import Outputs
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term
from allcomers.commands.load.report import figures, terminal
from allcomers.errors import OperatorError

MISSED = 4
"""The exit status where --slo is missed."""


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 where nothing was answered, 4 where --slo is missed. Raises ConfigError, OperatorError."""
    plan, outputs = options.read(arguments)
    terms = slo.parse(outputs.slo)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with terminal.Meter(plan) as meter:
            result = load.run(plan, (lambda progress: None) if outputs.quiet else meter.report)
    except KeyboardInterrupt:
        raise OperatorError("interrupted before there was anything to tell") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if not outputs.quiet:
        # What a program reads from standard output is not to be mixed with what a person reads.
        terminal.show(figures.headline(result), figures.sections(result, terms), _beside(outputs))
    _write(result, terms, outputs)
    return _status(result, terms)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _status(result: Result, terms: Sequence[Term]) -> int:
    met_anybody = result.connections_opened if result.plan["hostile"] else result.answered
    if not met_anybody:
        return 1
    return 0 if all(term.met(result) for term in terms) else MISSED


def _beside(outputs: Outputs) -> TextIO:
    files = (outputs.json, outputs.csv, outputs.html, outputs.hgrm)
    return sys.stderr if "-" in files else sys.stdout


def _write(result: Result, terms: Sequence[Term], outputs: Outputs) -> None:
    """The files that were asked for."""
    _file(outputs.json, lambda out: print(result.to_json(), file=out))
    _file(outputs.hgrm, lambda out: write_hgrm(result.response, out))
    if outputs.csv:
        from allcomers.commands.load.report import rows

        _file(outputs.csv, lambda out: rows.write(result, out))
    if outputs.html:
        from allcomers.commands.load.report import page

        _file(outputs.html, lambda out: page.write(result, terms, out))


def _file(path: str, write: Callable[[TextIO], None]) -> None:
    if not path:
        return
    text = io.StringIO(newline="")
    write(text)
    if path == "-":
        sys.stdout.write(text.getvalue())
        return
    try:
        Path(path).write_text(text.getvalue(), encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot write {path!r}: {getattr(error, 'strerror', None) or error}") from None
