"""The lab's results in a terminal: a table, then a paragraph for each candidate."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Final, TextIO

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Standing
from allcomers.commands.terminal import Column, columns, line, paragraph, table
from allcomers.server.logs import colours

_GREEN, _RED, _YELLOW, _BOLD, _DIM = "1;32", "1;31", "1;33", "1", "2"
"""Select Graphic Rendition (ECMA-48, 8.3.117)."""

_HEADS: Final = (
    Column("", left=True), Column("requests/s"), Column("95 %", 5), Column("× best", 1), Column("clients", 4),
    Column("p50", 6), Column("p99", 2), Column("CPU", 3), Column("memory", 7), Column("switches", 8),
)  # fmt: skip


def show(results: Results, out: TextIO) -> None:
    """Write the table and the recommendation: in colour on a terminal, unless NO_COLOR is set."""
    width = columns(out)
    coloured = out.isatty() and colours.wanted(out.fileno())
    out.write("\n")
    for style, text in _table(results, width):
        out.write((colours.painted(text, style) if coloured and style else text) + "\n")
    out.write("\n")
    for style, lead, why in _paragraphs(results):
        text = paragraph(f"{lead} {why}".rstrip(), width)
        if coloured and text.startswith(lead):
            text = colours.painted(lead, style) + text.removeprefix(lead)
        out.write(text + "\n")


def _paragraphs(results: Results) -> Iterator[tuple[str, str, str]]:
    """Yield (style, first words, the rest) of each paragraph."""
    verdict = results.verdict
    if results.is_race:
        for ranked in verdict.runners_up:
            yield _BOLD, f"{ranked.standing.candidate.name}.", ranked.why
    elif verdict.chosen is None:
        yield _RED, results.nothing(results.goal), ""
    else:
        yield _GREEN, f"Run {verdict.chosen.standing.candidate.name}.", verdict.chosen.why
        for number, ranked in enumerate(verdict.runners_up):
            yield _BOLD, f"{'Then' if number else 'Next'} {ranked.standing.candidate.name}.", ranked.why
    for ranked in verdict.others:
        yield _DIM, f"Not {ranked.standing.candidate.name}.", ranked.why
    if untried := str(results.untried):
        yield _YELLOW, "No time for:", untried
    for caution in verdict.cautions:
        yield _YELLOW, "Know:", caution


def _table(results: Results, width: int | None) -> Iterator[tuple[str, str]]:
    """Yield (style, line)."""
    head, *rows = map(line, table(_HEADS, [_cells(one) for one in results.standings], width))
    yield _BOLD, head
    chosen = results.verdict.chosen
    for one, text in zip(results.standings, rows, strict=True):
        yield _GREEN if chosen and one is chosen.standing else "" if one.stage != "screen" else _DIM, text


def _cells(one: Standing) -> list[str]:
    if one.failure and not one.capacity.count:
        return [one.candidate.name, "failed", *[""] * (len(_HEADS) - 2)]
    at_best = one.rung(one.clients)
    return [
        one.candidate.name,
        ("≈ " if one.limited else "") + wording.number(one.rate if one.missed else one.capacity.value),
        "" if one.missed else wording.between(one.capacity),
        wording.to_best(one.to_best, is_best=one.is_best, tied=one.tied, missed=one.missed),
        f"{one.clients:,}" if one.clients else "–",
        wording.seconds(at_best.p50 if at_best else nan),
        wording.seconds(at_best.p99 if at_best else nan),
        wording.seconds(one.cpu.value),
        wording.size(one.memory),
        wording.number(one.switches),
    ]
