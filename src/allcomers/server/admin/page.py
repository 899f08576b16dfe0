"""The dashboard: one file made of three, so that the browser loads nothing else (docs/admin.md shows it).

Its policy allows its style and its script by their hashes: no other code runs, whatever a name or a figure contains
(https://www.w3.org/TR/CSP3/#framework-directive-source-list).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def assembled(folder: Path) -> tuple[bytes, str]:
    """Return a page made of page.html, page.css and page.js in `folder`, and its Content-Security-Policy."""
    html, style, script = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.replace("/* page.css */", style).replace("/* page.js */", script).encode(), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE, POLICY = assembled(Path(__file__).parent / "dashboard")
