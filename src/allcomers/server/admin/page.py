"""Pages of the admin: one file each, made of three, so that the browser loads nothing else (docs/admin.md shows them).

Their policy allows their style and their script by their hashes: no other code runs, whatever a name or a figure
contains (https://www.w3.org/TR/CSP3/#framework-directive-source-list).
"""

from __future__ import annotations

from pathlib import Path

from allcomers.server.charts.page import ICON, SCRIPT, STYLE, UPLOT, source_hash


def assembled(folder: Path) -> tuple[bytes, str]:
    """Return a page made of page.html, page.css and page.js in `folder`, with the look and the charts of all pages, and
    its Content-Security-Policy."""
    html, style, script = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    style, script = STYLE + style, f"{UPLOT}\n{SCRIPT}\n{script}"
    policy = (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    page = html.replace("/* icon */", ICON).replace("/* page.css */", style).replace("/* page.js */", script)
    return page.encode(), policy


PAGE, POLICY = assembled(Path(__file__).parent / "dashboard")
