"""The compiled leaf, where it is installed: the dear steps of an HTTP request, in C (`_head`, `_fields`, `_chunks`,
`_response`).

Its callers look at `COMPILED` first and go on in plain Python where it is False, or where the leaf leaves a case to
them. `Head` and `Answer` are the bases of requests and responses; this file has their plain Python.
`ALLCOMERS_PURE=1` in the environment turns the leaf off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

COMPILED = False
try:
    if not os.environ.get("ALLCOMERS_PURE"):
        from allcomers.protocol._chunks import take_chunks as take_chunks
        from allcomers.protocol._fields import add_to_environ as add_to_environ
        from allcomers.protocol._fields import scope_headers as scope_headers
        from allcomers.protocol._fields import split as split
        from allcomers.protocol._fields import values_of as values_of
        from allcomers.protocol._head import read_head as read_head
        from allcomers.protocol._response import plan as plan

        if not TYPE_CHECKING:
            from allcomers.protocol._head import Head
            from allcomers.protocol._response import Answer

        COMPILED = True
except ImportError:  # no compiler was at hand when this was installed
    pass

Server: TypeAlias = tuple[str, int | None]
"""The listener that a peer connected to: its host and port; of a Unix socket its path and None."""

if TYPE_CHECKING or not COMPILED:

    class Head:
        """The slots of a request's head (head.RequestHead), its origin (message.Request), with the TlsInfo of its
        connection; its `driver`, which sends parts of the response while the call runs (connection.call.Driver), None
        where nothing can; and its `times` (timing.Times), where a log format or --server-timing needs them."""

        method: str
        target: str
        host: str
        version: str
        length: int | None = None
        chunked: bool = False
        persists: bool
        expects: bool = False
        upgrades: bool = False
        lines: bytes | None = None
        content: bytes | None = None
        peer: str
        port: int
        scheme: str
        server: Server | None = None
        tls: Any = None
        driver: Any = None
        times: Any = None
        ready_at: float = 0.0

    class Answer:
        """The slots of a response (message.Response)."""

        __slots__ = ("body", "close", "headers", "status", "trailers")

        body: Any
        status: int
        headers: list[tuple[str, str]]
        trailers: Iterable[tuple[str, str]]
        close: Callable[[], object] | None


KIND = "compiled" if COMPILED else "plain Python"
