"""An app whose calls last as long as they are told to: /sleep/MILLISECONDS, /status/CODE, /stream/PIECES."""

from __future__ import annotations

import time
from collections.abc import Iterator

from allcomers import Request, Response


def app(request: Request) -> Response:
    _, kind, number = request.path.split("/") if request.path.count("/") == 2 else ("", "", "0")
    if kind == "sleep":
        time.sleep(int(number) / 1000)
    if kind == "stream":
        return Response(_pieces(int(number)))
    return Response(b"x" * 1000, status=int(number) if kind == "status" else 200)


def _pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"y" * 1000
