"""The fast path: where it is compiled, small requests of a loop's idle peers are answered there (_http.pyx).

This file gives it all that it needs to do a connection's work without the connection, and decides when that is allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from allcomers.calls.protocols import loop_host, pulls_of
from allcomers.config.limits import Http2Limits
from allcomers.connection.call import OVERLOADED
from allcomers.connection.http import handler_call
from allcomers.connection.http.log_record import AccessRecord, finisher
from allcomers.connection.http.response_body import GatheredBody
from allcomers.connection.progress import GRACE
from allcomers.connection.service import CloseAfter, failed
from allcomers.errors import PeerError
from allcomers.protocol import compiled
from allcomers.protocol.compiled import Server
from allcomers.protocol.encode import STATUS_LINES, encode_fields, known_blocks
from allcomers.protocol.framing import Raw
from allcomers.protocol.head import known_hosts
from allcomers.protocol.message import Request, Response
from allcomers.protocol.timing import Times

if TYPE_CHECKING:
    from allcomers.calls.overload.admission import Admission
    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Connection
    from allcomers.connection.http.endpoint import HttpEndpoint
    from allcomers.connection.service import ServiceEndpoint
    from allcomers.models.fastpath._serializer import Serializer

_MOMENT: Final = 0.01
"""Seconds for which the call of an async app waits for a short body that comes in a packet behind its head."""

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.models.fastpath._http import FastState
else:

    class FastState:
        """The part of a peer's state that the fast path uses.

        is_idle     bool: nothing was received and not answered, or queued and not sent
        readable    bool: there may be more to read than has been read
        count       exchanges that were not reported to its connection
        since       the end of the last of them
        ready_at    when the poller reported what is being answered
        noted       the access records of responses that have not gone out whole; or None
        handed_off  (request, request line, keep-alive, EagerCall or None) of the call that runs in another thread, or
                    of an app that waits on the event loop; or None
        held        the beginning of a request, of whose body the rest is to come; or None
        held_at     when its first byte came
        intake      the connection, while more of a body comes and nothing else changes; of an idle peer of HTTP/2,
                    its Session; or None
        """

        __slots__ = (
            "conn",
            "count",
            "fd",
            "handed_off",
            "held",
            "held_at",
            "intake",
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
        handed_off: tuple[Request, tuple[str, str, str], bool, Any] | None
        held: bytes | None
        held_at: float
        intake: Any


Handle = Callable[[int, int, float], object]
"""Called with (descriptor, events, now) for each report of the poller."""


FallBack = Callable[[Any, bytes, tuple[Any, Any] | None, bytes | PeerError | None, float], object]
"""Called with a channel; bytes that are still to be sent; a request and its result, if that is not common; what was
received after it (as codec.received() returns it; bytes where there is a request); and the time."""


class FastPath(Protocol):
    """A handle() that stands before a loop's own."""

    def handle(self, fd: int, events: int, now: float) -> None:
        """Handle events in the place of the loop. Raises LoopMoved."""
        ...

    def arrive(self, state: Any) -> None:
        """Serve what a newcomer has sent since `ready_at`, as far as that is common. Raises LoopMoved."""
        ...

    def leave(self) -> tuple[Any, bytes, Any, Any, bytes] | None:
        """Detach the call that runs here: the loop goes on in another thread. Return (channel, bytes that are still to
        be sent, the request whose call runs, the body of its response if that has begun, the bytes received after it);
        None where no call of this runs."""
        ...

    def answered(self, state: Any, reply: Any, now: float) -> None:
        """Send the result of the call that was handed over for this channel."""
        ...


def fast_path(
    http: HttpEndpoint | None,
    service: ServiceEndpoint | None,
    calls: Calls,
    channels: dict[int, Any],
    otherwise: Handle,
    fall_back: FallBack,
    close: Callable[[Any], object],
    post: Callable[[Any, Any, Any], object],
    admission: Admission,
) -> FastPath | None:
    """Return the fast path of a loop whose own handle() is `otherwise`; None where these peers cannot have one."""
    if not compiled.COMPILED:
        return None
    if http is not None:
        loop = {"channels": channels, "otherwise": otherwise, "fall_back": fall_back, "close": close, "post": post}
        return _for_http(http, calls, admission, **loop)
    is_plain = calls.inline and loop_host(calls) is None and not calls.is_limited  # a limit has to know of each call
    if service is not None and is_plain and not service.tls:
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


def _for_http(http: HttpEndpoint, calls: Calls, admission: Admission, **loop: Any) -> FastPath | None:
    if http.async_call is not None and http.begin is None:
        return None
    from allcomers.models.fastpath._http import HttpFastPath

    path = HttpFastPath(
        **loop,
        **_of_endpoint(http),
        **_of_streams(http),
        **_of_calls(calls),
        pulls=pulls_of(calls) if http.gathers and http.tls is None else None,
        refuses=admission.refuses,
        lasts=admission.lasts,
        long_turn=admission.turn.room,
        request=Request,
        response=Response,
        serializer=_serializer(http),
        hosts=known_hosts,
        overloaded=OVERLOADED,
        refusal=handler_call.overloaded(),
    )
    admission.on_change = path.set_late
    return path


def _of_endpoint(http: HttpEndpoint) -> dict[str, Any]:
    """Return the app, the limits and the log."""
    limits = http.limits
    return {
        "handler": http.handler,
        "begin": http.begin,
        "waiting": _waiting(http),
        "checked": partial(handler_call.checked, http),
        "response_to_error": partial(handler_call.response_to_error, http),
        "times": http.clock and partial(Times, http.clock),
        "shows_times": http.server_timing,
        "forget": partial(_forget, http),
        "proxies": http.proxies,
        "is_sealed": http.tls is not None,
        "counters": http.counters,
        "max_head": limits.max_head,
        "max_headers": limits.max_headers,
        "max_body": limits.max_body,
        "max_requests": limits.max_requests if limits.max_requests < sys.maxsize else 0,
        "patience": 0.0 if http.tls or limits.request_timeout else GRACE if http.begin is None else _MOMENT,
        "record": AccessRecord if http.log else None,
        "note": finisher(http) if http.log else None,
    }


def _of_streams(http: HttpEndpoint) -> dict[str, Any]:
    """Return what requests of HTTP/2 need, if there are any."""
    if http.http2 is None:
        return {"streams": None, "stream_driver": None, "at_once": 0}
    from allcomers.connection.http.http2.driver import StreamDriver
    from allcomers.connection.http.http2.head import head
    from allcomers.models.fastpath._streams import StreamSerializer

    streams = StreamSerializer(response=Response, gathered=GatheredBody, head=head, date=http.date, server=http.server)
    return {"streams": streams, "stream_driver": StreamDriver, "at_once": Http2Limits().max_streams}


def _waiting(http: HttpEndpoint) -> type | None:
    """Return the class of calls whose app waits before its response is whole, and which the fast path keeps."""
    if http.begin is None or http.clock is not None:  # times are noted where a connection has the call
        return None
    from allcomers.apps.asgi._eager import EagerCall

    return EagerCall


def _of_calls(calls: Calls) -> dict[str, Any]:
    """Return where calls run."""
    host = loop_host(calls)
    limited: Any = calls if calls.is_limited and (host or calls.inline) else None  # TimedAuto, TimedInline
    return {
        "ownership": host and host.ownership,
        "answer_late": host and host.answer_late,
        "submit": None if host is None and calls.inline else calls.submit,
        "running": limited and limited.running,
        "end_late": limited and limited.end_late,
    }


def _forget(http: HttpEndpoint, reply: Any, request: Request) -> None:
    handler_call.forget(reply, http, request)


def _serializer(http: HttpEndpoint) -> Serializer:
    from allcomers.models.fastpath._serializer import Serializer

    return Serializer(
        response=Response,
        gathered=GatheredBody,
        encode=encode_fields,
        blocks=known_blocks,
        lines=STATUS_LINES,
        date=http.date,
        server=http.server,
    )
