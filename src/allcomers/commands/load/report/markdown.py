"""A result as Markdown: a summary for a pull request, with the verdict first (GitHub Flavored Markdown, 4.10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

import allcomers
from allcomers.commands.load.data.verdict import Verdict
from allcomers.commands.load.report import comparing
from allcomers.commands.load.report.figures import SERVICE_LEVEL, UNTRUSTED, Row, headline, sections

_SECTIONS: Final = ("Rates", "Requests", "Response time")
"""Sections of the table; the others are told if there is a reason."""

_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>()#+!|~@&-]")


def write(verdict: Verdict, out: TextIO) -> None:
    """Write the summary. All input of the user, the URL above all, is escaped."""
    out.writelines(f"{line}\n" for line in _lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    result = verdict.result
    found = {section.title: section.rows for section in sections(result, verdict.terms)}
    mark = ("✅ " if verdict.met else "❌ ") if verdict.is_asked else ""
    yield f"### {mark}allcomers load"
    yield ""
    yield _escaped(headline(result))
    judged = {section.title: section.rows for section in comparing.sections(verdict.comparison)}
    if verdict.terms:
        judged = {SERVICE_LEVEL: found[SERVICE_LEVEL], **judged}
    for title, rows in judged.items():
        yield from ("", f"**{_escaped(title)}**", "")
        yield from _table(rows, judged=True)
    yield from ("", "<details><summary>All figures</summary>", "")
    yield from _table([row for title in _SECTIONS for row in found.get(title, ())])
    yield from ("", "</details>")
    for title in ("Errors", UNTRUSTED):
        if title in found:
            yield from ("", f"**{title}**", "")
            yield from (
                f"- {_escaped(' '.join(filter(None, (row.name, row.value, row.note))))}" for row in found[title]
            )
    yield from ("", f"<sub>allcomers {allcomers.__version__}</sub>")


def _table(rows: Sequence[Row], judged: bool = False) -> Iterator[str]:
    yield "|  | | |"
    yield "| --- | ---: | --- |"
    for row in rows:
        mark = {True: "✅ ", False: "❌ ", None: ""}[row.good] if judged else ""
        yield f"| {mark}{_escaped(row.name)} | {_escaped(row.value)} | {_escaped(row.note)} |"


def _escaped(text: str) -> str:
    """Return `text` without any meaning to Markdown or HTML, in one line."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], " ".join(text.split()))
