"""`allcomers load`: read the options, run the load, show the result, return the exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TextIO

from allcomers.commands import load
from allcomers.commands.load.data import options, slo
from allcomers.commands.load.data.comparison import SHORTEST, check_base, compare
from allcomers.commands.load.data.histogram import write_hgrm
from allcomers.commands.load.data.options import Outputs
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.verdict import Verdict
from allcomers.commands.load.report import comparing, figures, terminal
from allcomers.commands.load.report.files import OutputFiles
from allcomers.commands.machine import Meanwhile, command_line
from allcomers.errors import ConfigError, OperatorError

MISSED = 4
"""Exit status if --slo is missed, or the result worse than that of --compare."""


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0; 1 if nothing was answered, MISSED. Raises ConfigError, OperatorError."""
    plan, outputs = options.read(arguments)
    terms = slo.parse(outputs.slo)
    base = _base(outputs, plan)
    with OutputFiles(outputs.files) as files:
        meanwhile = Meanwhile()
        result = replace(_run(plan, outputs), place=meanwhile.place(command_line("load", arguments)))
        comparison = compare(outputs.compare, base, result, outputs.tolerance) if base is not None else None
        verdict = Verdict(result, terms, comparison)
        _write(verdict, outputs, files)
        if not outputs.quiet:
            # Standard output is for programs if a file goes there; the table for people then goes to standard error.
            terminal.show(figures.headline(result), _sections(verdict), _beside(outputs))
        files.check()
    return _status(verdict)


def _base(outputs: Outputs, plan: Plan) -> Result | None:
    """Return the result to compare with, if one is named. Raises ConfigError."""
    if not outputs.compare:
        return None
    try:
        base = Result.from_json(Path(outputs.compare).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--compare {outputs.compare!r}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ConfigError(f"--compare {outputs.compare!r} is no --json of allcomers load") from None
    check_base(outputs.compare, base)
    if plan.seconds and plan.seconds < SHORTEST:
        raise ConfigError(f"--compare needs {SHORTEST} s at least: -d {SHORTEST}s")
    return base


def _sections(verdict: Verdict) -> list[figures.Section]:
    """Return the sections of the table, the verdict's first."""
    found = figures.sections(verdict.result, verdict.terms)
    judged = 1 if verdict.terms else 0
    return [*found[:judged], *comparing.sections(verdict.comparison), *found[judged:]]


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


def _status(verdict: Verdict) -> int:
    result = verdict.result
    has_result = result.connections_opened if result.plan["hostile"] else result.answered
    if not has_result:
        return 1
    return 0 if verdict.met else MISSED


def _beside(outputs: Outputs) -> TextIO:
    return sys.stderr if "-" in outputs.files else sys.stdout


def _write(verdict: Verdict, outputs: Outputs, files: OutputFiles) -> None:
    """Write the files that the options name."""
    result = verdict.result
    files.write(outputs.json, lambda out: print(result.to_json(verdict.as_dict()), file=out))
    files.write(outputs.hgrm, lambda out: write_hgrm(result.response, out))
    if outputs.csv:
        from allcomers.commands.load.report import rows

        files.write(outputs.csv, lambda out: rows.write(result, out))
    if outputs.html:
        from allcomers.commands.load.report import page

        files.write(outputs.html, lambda out: page.write(result, verdict.terms, out, verdict.comparison))
    if outputs.markdown:
        from allcomers.commands.load.report import markdown

        files.write(outputs.markdown, lambda out: markdown.write(verdict, out))
