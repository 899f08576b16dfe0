"""`allcomers lab --compare A B`: two results in the terminal, as comparison.html and as
comparison.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from allcomers.commands.lab.analysis import recorded, wording
from allcomers.commands.lab.analysis.comparison import Change, Comparison, Pair, compare
from allcomers.commands.lab.analysis.results import plain
from allcomers.commands.lab.analysis.standing import Standing
from allcomers.commands.lab.data.options import CompareOptions
from allcomers.commands.lab.report import comparison_page
from allcomers.commands.lab.report.report import swap
from allcomers.commands.terminal import Column, columns, line, paragraph, table
from allcomers.server.logs import colours

_HEADS: Final = (
    Column("", left=True), Column("A requests/s", 4), Column("B requests/s", 3), Column("B/A"),
    Column("", 1, left=True), Column("CPU, B/A", 2), Column("A p99", 6), Column("B p99", 5),
)  # fmt: skip

_STYLES: Final = {Change.FASTER: "1;32", Change.SLOWER: "1;31", Change.UNKNOWN: "2", Change.MISSED: "2"}
"""Select Graphic Rendition (ECMA-48, 8.3.117)."""


def run(options: CompareOptions) -> int:
    """Compare two results; show and write what was found. Raises ConfigError."""
    found = compare(recorded.read(options.a), recorded.read(options.b))
    text = json.dumps(plain(found.as_dict()), indent=1, ensure_ascii=False) + "\n"
    page = comparison_page.page(found, [head.name for head in _HEADS], [cells(pair) for pair in found.pairs])
    files = {"comparison.html": page, "comparison.json": text}
    swap(options.out, files)
    show(found, sys.stdout)
    print("\n" + "\n".join(str(options.out / name) for name in files))
    return 0


def show(found: Comparison, out: TextIO) -> None:
    """Write what was compared, the sentence and a line for each candidate: in colour on a terminal, unless NO_COLOR."""
    width = columns(out)
    coloured = out.isatty() and colours.wanted(out.fileno())
    out.write("\n")
    for name, one in (("A", found.a), ("B", found.b)):
        out.write(paragraph(f"{name}  {comparison_page.described(one)}", width, indent="   ") + "\n")
    out.write("\n" + paragraph(found.sentence, width) + "\n\n")
    for style, text in _table(found, width):
        out.write((colours.painted(text, style) if coloured and style else text) + "\n")
    for caution in found.cautions:
        out.write(paragraph(f"\nKnow: {caution}", width) + "\n")


def _table(found: Comparison, width: int | None) -> Iterator[tuple[str, str]]:
    """Yield (style, line)."""
    head, *rows = map(line, table(_HEADS, [cells(pair) for pair in found.pairs], width))
    yield "1", head
    yield from zip((_STYLES.get(pair.change, "") for pair in found.pairs), rows, strict=True)


def cells(pair: Pair) -> list[str]:
    """Return the cells of a candidate's row."""
    return [
        pair.candidate.name,
        _rate(pair.a),
        _rate(pair.b),
        wording.ratio(pair.tps),
        pair.change.value,
        wording.ratio(pair.cpu),
        wording.seconds(pair.a.p99(pair.a.clients)),
        wording.seconds(pair.b.p99(pair.b.clients)),
    ]


def _rate(one: Standing) -> str:
    return "missed" if one.missed else "failed" if one.failure else wording.number(one.capacity.value)
