"""The pages that Site writes itself: of an error, and the list of a folder.

This file writes HTML. Its callers choose the page and read the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from allcomers.protocol.message import Response

_PHRASES = {
    301: "Moved Permanently",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    501: "Not Implemented",
    503: "Service Unavailable",
}

_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("X-Content-Type-Options", "nosniff"),
    # File names come from anybody with write access to the folder: should one ever get past the escaping, nothing in
    # it runs or loads.
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"),
]

_STYLE = """:root{color-scheme:light dark;--line:#d0d7de;--dim:#57606a}
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--dim:#9aa4af}}
body{font:1rem/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{font-weight:600;color:var(--dim)}
td+td,th+th{white-space:nowrap;font-variant-numeric:tabular-nums;color:var(--dim)}
.size{text-align:right}
a{text-decoration:none}a:hover,a:focus-visible{text-decoration:underline}"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""

# Characters that end a text or an attribute. html.escape does the same; its module's entities cost 3 ms at start-up.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


class FolderEntry(NamedTuple):
    """One line of a list: `name` as the kernel has it, bytes; `modified` in seconds since 1970."""

    name: bytes
    is_folder: bool
    size: int
    modified: int


def error_page(status: int, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a short page with the phrase of `status`, and nothing of the request."""
    return Response(_error_body(status), status=status, headers=[*_HEADERS, *headers])


@cache
def _error_body(status: int) -> bytes:
    return _page(f"{status} {_PHRASES[status]}", "")


def folder_page(path: str, entries: Iterable[FolderEntry], *, has_parent: bool, left_out: int) -> Response:
    """Return the list of the folder at `path`, as the browser shows it; `left_out` is the number of further entries."""
    rows = [_row(b"../", "Parent folder", "", "")] if has_parent else []
    rows += map(_entry_row, entries)
    content = (
        '<table>\n<thead><tr><th scope="col">Name</th><th scope="col" class="size">Size</th>'
        '<th scope="col">Last written (UTC)</th></tr></thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody>\n</table>"
    )
    if left_out:
        content += f"\n<p>{left_out:,} more are not listed.</p>"
    # The list changes without the folder's own date (a file grows), so it has no validator: browsers fetch it again.
    return Response(_page(f"Index of {_shown(path)}", content), headers=[*_HEADERS, ("Cache-Control", "no-cache")])


def _page(title: str, content: str) -> bytes:
    page = _PAGE.format(title=title, content=content, style=_STYLE)
    return page.encode("utf-8", "replace")  # names that are not UTF-8 hold surrogates


def _entry_row(entry: FolderEntry) -> str:
    name = os.fsdecode(entry.name)
    if entry.is_folder:
        return _row(entry.name + b"/", name + "/", "", _moment(entry.modified))
    return _row(entry.name, name, _size(entry.size), _moment(entry.modified))


def _row(target: bytes, name: str, size: str, moment: str) -> str:
    from urllib.parse import quote_from_bytes  # late, as in message.py

    # "./" and the quoted ":": a file may be called "javascript:alert(1)". <bdi>: a name in Arabic, or with a U+202E
    # that would reverse "gpj.exe", stays in its own cell.
    return (
        f'<tr><td><a href="./{quote_from_bytes(target)}"><bdi>{_shown(name)}</bdi></a></td>'
        f'<td class="size">{size}</td><td>{moment}</td></tr>'
    )


def _shown(text: str) -> str:
    return text.translate(_ESCAPES)


def _size(count: int) -> str:
    """Return a size for people, in powers of 1000 as in file managers and on disks: "1.5 MB"."""
    if count < 1000:
        return f"{count} B"
    size, units = count / 1000, ["PB", "TB", "GB", "MB", "kB"]
    while size >= 999.95 and len(units) > 1:  # 999.95 would be rounded to 1000.0
        size /= 1000
        units.pop()
    return f"{size:.1f} {units[-1]}"


def _moment(seconds: int) -> str:
    try:
        parts = time.gmtime(seconds)
    except (OverflowError, OSError, ValueError):  # a file system may hold any 64 bits
        return ""
    return time.strftime('<time datetime="%Y-%m-%dT%H:%M:%SZ">%Y-%m-%d %H:%M</time>', parts)
