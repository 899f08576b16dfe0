"""A comparison in words and figures."""

from __future__ import annotations

import math
from typing import Final

from allcomers.commands.load.data.comparison import Change, Comparison, Judgement
from allcomers.commands.load.report.figures import Row, Section, span

_GOOD: Final = {Judgement.BETTER: True, Judgement.WORSE: False, Judgement.UNCLEAR: False, Judgement.ALIKE: None}


def sections(comparison: Comparison | None) -> list[Section]:
    """Return the section of a comparison, if there is one."""
    if comparison is None:
        return []
    rows = [*map(_row, comparison.changes), *(Row("!", line) for line in comparison.differences)]
    return [Section(f"Against {comparison.base}: {_outcome(comparison)}", rows)]


def _outcome(comparison: Comparison) -> str:
    """Return the comparison in a few words."""
    names = {
        judgement: ", ".join(_label(change) for change in comparison.changes if change.judgement is judgement)
        for judgement in Judgement
    }
    if names[Judgement.UNCLEAR]:
        return Judgement.UNCLEAR.value
    if names[Judgement.WORSE]:
        return f"{names[Judgement.WORSE]} worse (tolerance {100 * comparison.tolerance:g} %)"
    return f"{names[Judgement.BETTER]} better, nothing worse" if names[Judgement.BETTER] else Judgement.ALIKE.value


def _label(change: Change) -> str:
    return "TPS" if change.name == "tps" else change.name


def _row(change: Change) -> Row:
    values = f"{_value(change, change.base)} → {_value(change, change.new)}"
    return Row(_label(change), _moved(change), f"{values}; {_interval(change)}", good=_GOOD[change.judgement])


def _value(change: Change, value: float) -> str:
    if change.name == "errors":
        return f"{value:.2%}"
    return f"{value:,.0f}" if change.name == "tps" else span(value)


def _moved(change: Change) -> str:
    return "–" if math.isnan(change.change) else f"{_signed(change.change)} %"


def _interval(change: Change) -> str:
    if math.isnan(change.low):
        return Judgement.UNCLEAR.value
    return f"95 %: {_signed(change.low)} to {_signed(change.high)} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
