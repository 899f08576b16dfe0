"""The express lane: where it is compiled, a Loop's peers at rest have their small requests answered there (`_express`).

This file knows what the lane must be told to do a connection's work without it, and when that is allowed: of plain HTTP
whose calls run in the loop's own thread, and where nobody wants to know how each request went.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers import http_calls
from allcomers.answers import SERVER
from allcomers.calls.auto import Auto
from allcomers.calls.inline import Inline
from allcomers.errors import Displaced
from allcomers.protocol import leaf
from allcomers.protocol.head import STATUS_LINES, encode_fields, known_blocks, known_hosts
from allcomers.protocol.leaf import Server
from allcomers.protocol.message import Request, Response

if TYPE_CHECKING:
    from allcomers.connection import Connection
    from allcomers.models import Serving
    from allcomers.models._express import Express

if leaf.COMPILED and not TYPE_CHECKING:
    from allcomers.models._express import Seat
else:

    class Seat:
        """What the lane knows of a peer.

        rests  bool: it has nothing that was heard and not answered, or said and not sent
        count  exchanges that its connection was not told of
        since  when the last of them ended
        told   when the poller told of what is being answered
        """

        __slots__ = ("conn", "count", "fd", "peer", "port", "rests", "server", "since", "told")

        conn: Connection
        fd: int
        peer: str
        port: int
        server: Server
        rests: bool
        count: int
        since: float
        told: float


Handle = Callable[[int, int, float], object]
"""(descriptor, events, now): the poller tells this."""


def lane(
    serving: Serving,
    channels: dict[int, Any],
    otherwise: Handle,
    resume: Callable[[Any, bytes, tuple[Request, Any] | None, bytes, float], object],
) -> Express | None:
    """What has a handle() that stands for a Loop's, which is `otherwise`; None where it is not for these peers.

    resume  told of a channel: (what is to be sent still, a request and its answer that is not common, what has been
            heard after it, now)
    """
    http, calls = serving.http, serving.calls
    if http is None or not isinstance(calls, Inline | Auto):  # those with a limit must know of each call
        return None
    if not leaf.COMPILED or http.log or http.clock or http.client or http.tls:
        return None
    from allcomers.models._express import Express

    return Express(
        channels=channels,
        otherwise=otherwise,
        resume=resume,
        handler=http.handler,
        begin=http.begin,
        settled=partial(http_calls.settled, http),
        excuse=partial(http_calls.excuse, http),
        encode=encode_fields,
        date=http.date,
        server=SERVER,
        request=Request,
        response=Response,
        hosts=known_hosts,
        blocks=known_blocks,
        lines=STATUS_LINES,
        page=http.page,
        max_head=http.limits.max_head,
        max_headers=http.limits.max_headers,
        claim=calls.claim if isinstance(calls, Auto) else None,
        answer_late=calls.answer_late if isinstance(calls, Auto) else None,
        displaced=Displaced,
    )
