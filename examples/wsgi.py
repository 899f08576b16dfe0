"""A WSGI app, plain: what Flask and Django are underneath.

    allcomers run examples/wsgi.py

Try it:

    curl 'http://127.0.0.1:8000/?name=Ada'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    name = parse_qs(environ["QUERY_STRING"]).get("name", ["all comers"])[0]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {name}!\n".encode()]
