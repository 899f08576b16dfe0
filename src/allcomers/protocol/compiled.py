"""The compiled leaf, where it is: what each HTTP request pays most for, in C (`_head`, `_fields`, `_answer`).

Its callers ask `COMPILED` first and go on in plain Python where it is False, or where the leaf leaves a case to them.
`Head` and `Answer` are what requests and answers are made of; here is how they look in plain Python.
`ALLCOMERS_PURE=1` in the environment leaves the leaf alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

COMPILED = False
try:
    if not os.environ.get("ALLCOMERS_PURE"):
        from allcomers.protocol._fields import add_to_environ as add_to_environ
        from allcomers.protocol._fields import scope_headers as scope_headers
        from allcomers.protocol._fields import split as split
        from allcomers.protocol._head import read_head as read_head
        from allcomers.protocol._response import plan as plan

        if not TYPE_CHECKING:
            from allcomers.protocol._head import Head
            from allcomers.protocol._response import Answer

        COMPILED = True
except ImportError:  # no compiler was at hand when this was installed
    pass

Server: TypeAlias = tuple[str, int | None]
"""Where a peer came to: a host and a port of ours; of a Unix socket its path and None."""

if TYPE_CHECKING or not COMPILED:

    class Head:
        """The slots of a request's head (head.RequestHead), whence it came (message.Request), and its `driver`: who
        sends what its call says while it runs (signs.Driver); None where nobody can."""

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
        driver: Any = None
        ready_at: float = 0.0

    class Answer:
        """The slots of an answer (message.Response)."""

        __slots__ = ("body", "close", "headers", "status", "trailers")

        body: Any
        status: int
        headers: list[tuple[str, str]]
        trailers: Iterable[tuple[str, str]]
        close: Callable[[], object] | None


KIND = "compiled" if COMPILED else "plain Python"
