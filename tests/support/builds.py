"""The compiled build against plain Python: the same bytes must be the same requests, or the same refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allcomers.apps.asgi.scope import http_scope
from allcomers.apps.wsgi.environ import Environs
from allcomers.apps.wsgi.file_wrapper import FileWrapper
from allcomers.config.limits import Limits
from allcomers.errors import Refusal
from allcomers.protocol import compiled as leaf
from allcomers.protocol.http1 import Requests
from allcomers.protocol.message import Request


@contextmanager
def plain() -> Iterator[None]:
    """Run plain Python, also where the leaf is installed."""
    before, leaf.COMPILED = leaf.COMPILED, False
    try:
        yield
    finally:
        leaf.COMPILED = before


_KEPT = (
    "method",
    "target",
    "host",
    "version",
    "length",
    "chunked",
    "persists",
    "expects",
    "upgrades",
    "fields",
    "named",
)

_environs = Environs(file_wrapper=FileWrapper)


def seen_by_app(request: Request) -> dict[str, Any]:
    """Return all that an app may see of a request."""
    request.arrived([], None, "192.0.2.1", 4711, "http")
    said = {name: getattr(request, name) for name in _KEPT}
    said["values"] = {name: request.value(name) for name in (b"a", b"cookie", b"host", b"x-forwarded-for")}
    assert type(said["length"]) in (int, type(None))
    assert type(said["version"]) is str
    for name in ("chunked", "persists", "expects", "upgrades"):
        assert type(said[name]) is bool
    environ = _environs(request)
    for name in ("wsgi.input", "allcomers.disconnected"):  # an object of each build
        del environ[name]
    return said | {"environ": environ, "scope": http_scope(request, "", None)}


def outcome(pieces: list[bytes], **limits: int) -> list[Any]:
    """Return the heads in these pieces, without bodies; the reason of a refusal; and the bytes left."""
    requests = Requests(Limits(**limits))
    found: list[Any] = []
    for piece in pieces:
        requests.feed(piece)
        try:
            while True:
                if not requests.complete:
                    found.append(requests.body())
                    if not requests.complete:
                        break
                head = requests.head()
                if head is None:
                    break
                found.append(seen_by_app(head))
        except Refusal as refusal:
            return [*found, (refusal.status, refusal.reason)]
    return [*found, requests.buffer]


def same(pieces: list[bytes], **limits: int) -> None:
    with plain():
        expected = outcome(pieces, **limits)
    assert outcome(pieces, **limits) == expected
