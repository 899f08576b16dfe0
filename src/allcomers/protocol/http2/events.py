"""The events that a Session reports, in the order of the peer's frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from allcomers.errors import Refusal
    from allcomers.protocol.head import Fields
    from allcomers.protocol.http2.requests import RequestBlock


class RequestReceived(NamedTuple):
    """A request's head, at a server; `complete`: it has no body."""

    stream: int
    head: RequestBlock
    complete: bool


class RequestRefused(NamedTuple):
    """A request's head that is well-formed, but to be refused with a status; `complete` as in RequestReceived.

    method  "" where it is not known
    """

    stream: int
    refusal: Refusal
    complete: bool
    method: str


class ResponseReceived(NamedTuple):
    """A response's head, at a client; with a status below 200 an interim one, after which another comes. The fields are
    shared by all responses with the same."""

    stream: int
    status: int
    fields: Fields
    complete: bool


class DataReceived(NamedTuple):
    """Bytes of a body, maybe none; `complete`: the last."""

    stream: int
    data: bytes
    complete: bool


class TrailersReceived(NamedTuple):
    """The fields after a body, which is complete."""

    stream: int
    fields: Fields


class StreamReset(NamedTuple):
    """The end of a stream: `remote`, by the peer; or by its fault, for `reason`."""

    stream: int
    code: int
    reason: str
    remote: bool


class WindowOpened(NamedTuple):
    """More may be sent on `stream`; 0: on any."""

    stream: int


class PriorityUpdated(NamedTuple):
    """The peer has changed the priority of a stream (RFC 9218, 7)."""

    stream: int
    urgency: int
    incremental: bool


class GoawayReceived(NamedTuple):
    """The peer opens no more streams, and takes none after `last`."""

    last: int
    code: int


class PingAcknowledged(NamedTuple):
    """The peer has answered a PING of ours."""

    data: bytes


class SessionFailed(NamedTuple):
    """The last event: the peer broke the protocol beneath the streams."""

    code: int
    reason: str


Http2Event: TypeAlias = (
    RequestReceived
    | RequestRefused
    | ResponseReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | WindowOpened
    | PriorityUpdated
    | GoawayReceived
    | PingAcknowledged
    | SessionFailed
)
