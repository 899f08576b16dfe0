"""A whole report as one file: header, body and charts. It works without a network, and its policy allows no request.

Scripts run by their hashes alone, whatever a name or a figure contains
(https://www.w3.org/TR/CSP3/#framework-directive-source-list).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import allcomers
from allcomers.server.charts.chart import Chart, as_values
from allcomers.server.charts.palette import PALETTE

_FOLDER: Final = Path(__file__).parent / "assets"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


STYLE: Final = PALETTE + _read("uplot/uPlot.min.css") + _read("page.css")
UPLOT: Final = _read("uplot/uPlot.iife.min.js")
SCRIPT: Final = _read("charts.js")
"""Draws each figure of class "chart"; uPlot must run before."""

ICON: Final = "data:image/svg+xml," + "".join(
    (
        "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 64 64'%3E%3Cg fill='none' stroke-width='11' ",
        "stroke-linecap='round'%3E%3Cpath d='M32 32V8' stroke='%230f9c92'/%3E%3Cpath d='M32 32L52.8 44' ",
        "stroke='%23e0960c'/%3E%3Cpath d='M32 32L11.2 44' stroke='%23d3315c'/%3E%3C/g%3E",
        "%3Ccircle cx='32' cy='32' r='10' fill='%23778'/%3E%3C/svg%3E",
    )
)


def source_hash(text: str) -> str:
    """Return a script or style as a source of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    body: str,
    verdict: str = "",
    scripts: Sequence[str] = (),
    style: str = "",
) -> str:
    """Return the page.

    title    what was measured, as text
    facts    (name, value) of the circumstances, as text: command, host, CPU, versions, date, how quiet it was
    body     HTML
    verdict  HTML, shown first
    scripts  more scripts, which run after charts.js, in strict mode
    style    more CSS
    """
    allowed = [UPLOT, SCRIPT, *scripts]
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {' '.join(map(source_hash, allowed))};"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<link rel="icon" href="{ICON}">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>",
            f"<main>\n<header><h1>{escape(title)}</h1>\n{verdict}\n{_listed(facts)}</header>",
            body,
            f"<footer>allcomers {escape(allcomers.__version__)}. Drag to zoom, double-click to reset; click a name to"
            " hide its line.</footer>\n</main>",
            *(f"<script>{script}</script>" for script in allowed),
            "</html>\n",
        )
    )


def _listed(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    return f'<dl class="facts">{items}</dl>' if items else ""


def figure(chart: Chart, name: str, kind: str = "") -> str:
    """Return a chart as HTML, to be drawn by charts.js; `name` is its id, `kind` more classes: "wide"."""
    label = escape(chart.title)
    return (
        f'<figure class="chart {kind}" id="{escape(name)}"><figcaption><h2>{label}</h2></figcaption>'
        f'<script type="application/json">{as_json(as_values(chart))}</script>'
        f'<div class="plot" role="img" aria-label="{label}"></div></figure>'
    )


def as_json(values: Any) -> str:
    """Return JSON that may stand in a script element, whatever its texts contain."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
