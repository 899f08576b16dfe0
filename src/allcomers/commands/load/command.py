"""`allcomers load`: read the options, run the load, show the result, return the exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import TextIO

from allcomers.commands import load
from allcomers.commands.load.data import options, slo
from allcomers.commands.load.data.histogram import write_hgrm
from allcomers.commands.load.data.options import Outputs
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term
from allcomers.commands.load.report import figures, terminal
from allcomers.commands.load.report.files import OutputFiles
from allcomers.commands.machine import Meanwhile, command_line
from allcomers.errors import OperatorError

MISSED = 4
"""Exit status if --slo is missed."""


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0; 1 if nothing was answered, 4 if --slo is missed. Raises ConfigError, OperatorError."""
    plan, outputs = options.read(arguments)
    terms = slo.parse(outputs.slo)
    with OutputFiles((outputs.json, outputs.csv, outputs.html, outputs.hgrm)) as files:
        meanwhile = Meanwhile()
        result = replace(_run(plan, outputs), place=meanwhile.place(command_line("load", arguments)))
        _write(result, terms, outputs, files)
        if not outputs.quiet:
            # Standard output is for programs if a file goes there; the table for people then goes to standard error.
            terminal.show(figures.headline(result), figures.sections(result, terms), _beside(outputs))
        files.check()
    return _status(result, terms)


def _run(plan: Plan, outputs: Outputs) -> Result:
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with terminal.Meter(plan) as meter:
            return load.run(plan, (lambda progress: None) if outputs.quiet else meter.report)
    except KeyboardInterrupt:
        raise OperatorError("interrupted before there was a result") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _status(result: Result, terms: Sequence[Term]) -> int:
    has_result = result.connections_opened if result.plan["hostile"] else result.answered
    if not has_result:
        return 1
    return 0 if all(term.met(result) for term in terms) else MISSED


def _beside(outputs: Outputs) -> TextIO:
    files = (outputs.json, outputs.csv, outputs.html, outputs.hgrm)
    return sys.stderr if "-" in files else sys.stdout


def _write(result: Result, terms: Sequence[Term], outputs: Outputs, files: OutputFiles) -> None:
    """Write the files that the options name."""
    files.write(outputs.json, lambda out: print(result.to_json(), file=out))
    files.write(outputs.hgrm, lambda out: write_hgrm(result.response, out))
    if outputs.csv:
        from allcomers.commands.load.report import rows

        files.write(outputs.csv, lambda out: rows.write(result, out))
    if outputs.html:
        from allcomers.commands.load.report import page

        files.write(outputs.html, lambda out: page.write(result, terms, out))
