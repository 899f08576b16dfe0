"""The dashboard: one file made of three, so that the browser loads nothing else (docs/admin.md shows it).

Its policy allows its style and its script by their hashes: no other code runs, whatever a name or a figure contains
(https://www.w3.org/TR/CSP3/#framework-directive-source-list).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "dashboard"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE: Final = _read("page.css")
_SCRIPT: Final = _read("page.js")

PAGE: Final = _read("page.html").replace("/* page.css */", _STYLE).replace("/* page.js */", _SCRIPT).encode()

POLICY: Final = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
