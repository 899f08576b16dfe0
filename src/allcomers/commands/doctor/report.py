"""The doctor's report: text for a person, an object of JSON for a program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from itertools import groupby
from math import inf
from textwrap import fill
from typing import Any, Final, TextIO

import allcomers
from allcomers.commands.doctor.facts import Diagnosis, Facts, Finding, Weight, many, size
from allcomers.server.logs import colours

_COLOURS: Final = {Weight.FAILS: "1;31", Weight.HURTS: "1;33", Weight.KNOW: "1;36"}
"""Select Graphic Rendition (ECMA-48, 8.3.117): bold, in red, yellow, cyan."""

_KINDS: Final = {"wsgi": "a WSGI app", "asgi": "an ASGI app", "web": "a web handler", "service": "a TCP service"}


def text(diagnosis: Diagnosis, stream: TextIO) -> str:
    """Return the report for `stream`: in colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    if not stream.isatty():
        return "\n".join(_lines(diagnosis, False, 100))
    width = os.get_terminal_size(stream.fileno()).columns
    return "\n".join(_lines(diagnosis, colours.wanted(stream.fileno()), min(width or 100, 100)))


def _lines(diagnosis: Diagnosis, coloured: bool, width: int) -> Iterator[str]:
    yield _wrapped(_subject(diagnosis.facts), "", width)
    for weight, findings in groupby(diagnosis.findings, key=lambda finding: finding.weight):
        yield ""
        yield colours.painted(weight.value, _COLOURS[weight]) if coloured else weight.value
        for finding in findings:
            yield _wrapped(finding.seen, "  ", width)
            yield _wrapped(finding.harm, "    ", width)
            yield _wrapped(f"→ {finding.mend}", "    ", width)
    yield ""
    found = len(diagnosis.findings)
    yield f"{many(diagnosis.looked_at, 'thing')} checked, {'nothing else found' if found else 'nothing found'}."


def _wrapped(text: str, indent: str, width: int) -> str:
    # No break at hyphens: commands stay whole.
    return fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _subject(facts: Facts) -> str:
    """Return a line or two about this system and the app."""
    limit = min(facts.memory, facts.memory_limit)
    parts = [
        f"allcomers {allcomers.__version__} ({facts.leaf}) on Python {sys.version.split()[0]}, {facts.system}",
        many(facts.cores, "core") + (f" (quota {facts.quota:.3g})" if facts.quota < facts.cores else ""),
        *([f"{size(limit)} of memory"] if limit < inf else []),
        *([many(facts.nofile, "descriptor")] if facts.nofile < inf else []),
    ]
    app = facts.app
    if app and app.kind:
        parts.append(f"{app.target}: {_KINDS[app.kind]}, loaded in {app.seconds:.2g} s, {size(app.memory)} a worker")
    return "; ".join(parts)


def as_json(diagnosis: Diagnosis) -> str:
    """Return the report as an object of JSON; null is no limit."""
    return json.dumps(_whole(diagnosis), indent=2, ensure_ascii=False)


def _whole(diagnosis: Diagnosis) -> dict[str, Any]:
    facts = diagnosis.facts
    app = facts.app
    return {
        "allcomers": allcomers.__version__,
        "leaf": facts.leaf,
        "python": sys.version.split()[0],
        "system": facts.system,
        "places": sorted(facts.places),
        "cores": facts.cores,
        "quota": _finite(facts.quota),
        "memory": _finite(min(facts.memory, facts.memory_limit)),
        "descriptors": {"soft": _finite(facts.nofile), "hard": _finite(facts.nofile_hard)},
        "app": app and {"target": app.target, "kind": app.kind, "seconds": app.seconds, "memory": app.memory},
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "looked_at": diagnosis.looked_at,
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "weight": finding.weight.name.lower(),
        "name": finding.name,
        "seen": finding.seen,
        "harm": finding.harm,
        "mend": finding.mend,
    }


def _finite(value: float) -> float | None:
    return value if value < inf else None
