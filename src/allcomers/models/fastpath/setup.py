"""The express lane: where it is compiled, a Loop's peers at rest have their small requests answered there (`_express`).

This file knows what the lane must be told to do a connection's work without it, and when that is allowed: of HTTP whose
calls have no limit of time, where nobody wants the time of each request split or a proxy believed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from allcomers.calls.protocols import LoopHost
from allcomers.connection.http import handler_call
from allcomers.connection.http.log_record import AccessRecord, note_all
from allcomers.connection.service import CloseAfter, failed
from allcomers.errors import LoopMoved, PeerError
from allcomers.protocol import compiled
from allcomers.protocol.compiled import Server
from allcomers.protocol.framing import Raw
from allcomers.protocol.head import STATUS_LINES, encode_fields, known_blocks, known_hosts
from allcomers.protocol.message import Request, Response

if TYPE_CHECKING:
    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Connection
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.models.fastpath._serializer import Serializer

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.models.fastpath._http import FastState
else:

    class FastState:
        """What the lane knows of a peer.

        is_idle     bool: it has nothing that was heard and not answered, or said and not sent
        readable  bool: there may be more to read than has been read
        count     exchanges that its connection was not told of
        since     when the last of them ended
        ready_at      when the poller told of what is being answered
        noted     of answers that have not gone out whole, what is noted when they have; or None
        handed_off  (request, request line, keep-alive) of the call that runs in another thread; or None
        """

        __slots__ = (
            "conn",
            "count",
            "fd",
            "handed_off",
            "is_idle",
            "noted",
            "peer",
            "port",
            "readable",
            "ready_at",
            "server",
            "since",
        )  # fmt: skip

        conn: Connection
        fd: int
        peer: str
        port: int
        server: Server
        is_idle: bool
        readable: bool
        count: int
        since: float
        ready_at: float
        noted: list[AccessRecord] | None
        handed_off: tuple[Request, tuple[str, str, int], bool] | None


Handle = Callable[[int, int, float], object]
"""(descriptor, events, now): the poller tells this."""


FallBack = Callable[[Any, bytes, tuple[Any, Any] | None, bytes | PeerError | None, float], object]
"""Told of a channel: what is to be sent still, a request and its answer that is not common, what the peer has said
after it (as codec.received() has it; bytes where there is a request), now."""


class FastPath(Protocol):
    """What stands before a Loop."""

    def handle(self, fd: int, events: int, now: float) -> None:
        """Instead of the Loop's own. Raises LoopMoved."""
        ...

    def leave(self) -> tuple[Any, bytes, Any, bytes] | None:
        """The loop goes on elsewhere: (channel, what is to be sent still, the request whose call runs, what has been
        heard after it); None where no call of this runs."""
        ...

    def answered(self, seat: Any, reply: Any, now: float) -> None:
        """The call that was handed over for this channel has returned `reply`."""
        ...


def fast_path(
    http: HttpEndpoint | None,
    service: ServiceEndpoint | None,
    calls: Calls,
    channels: dict[int, Any],
    otherwise: Handle,
    fall_back: FallBack,
    close: Callable[[Any], object],
    post: Callable[[Any, Any], object],
) -> FastPath | None:
    """For a Loop whose own handle() is `otherwise`; None where there is none for these peers."""
    if not compiled.COMPILED or calls.is_limited:  # a limit has to know of each call
        return None
    if http is not None:
        return _for_http(http, calls, channels, otherwise, fall_back, close, post)
    if service is not None and calls.inline and not isinstance(calls, LoopHost) and not service.tls:
        return _for_service(service, channels, otherwise, fall_back)
    return None


def _for_service(
    service: ServiceEndpoint, channels: dict[int, Any], otherwise: Handle, fall_back: FallBack
) -> FastPath:
    from allcomers.models.fastpath._service import ServiceFastPath

    return ServiceFastPath(
        channels=channels,
        otherwise=otherwise,
        fall_back=fall_back,
        raw=Raw,
        failed=partial(failed, service),
        closes=CloseAfter,
        counters=service.counters,
    )


def _for_http(
    http: HttpEndpoint,
    calls: Calls,
    channels: dict[int, Any],
    otherwise: Handle,
    fall_back: FallBack,
    close: Callable[[Any], object],
    post: Callable[[Any, Any], object],
) -> FastPath | None:
    if http.clock or http.client:
        return None
    from allcomers.models.fastpath._http import HttpFastPath

    host = calls if isinstance(calls, LoopHost) else None
    return HttpFastPath(
        channels=channels,
        otherwise=otherwise,
        fall_back=fall_back,
        close=close,
        handler=http.handler,
        begin=http.begin,
        checked=partial(handler_call.checked, http),
        response_to_error=partial(handler_call.response_to_error, http),
        is_sealed=http.tls is not None,
        request=Request,
        response=Response,
        serializer=_serializer(http),
        hosts=known_hosts,
        counters=http.counters,
        max_head=http.limits.max_head,
        max_headers=http.limits.max_headers,
        max_body=http.limits.max_body,
        ownership=host and host.ownership,
        answer_late=host and host.answer_late,
        loop_moved=LoopMoved,
        submit=None if host is None and calls.inline else calls.submit,
        post=post,
        record=AccessRecord if http.log else None,
        note=partial(note_all, http),
    )


def _serializer(http: HttpEndpoint) -> Serializer:
    from allcomers.models.fastpath._serializer import Serializer

    return Serializer(
        response=Response,
        encode=encode_fields,
        blocks=known_blocks,
        lines=STATUS_LINES,
        date=http.date,
        server=http.server,
    )
