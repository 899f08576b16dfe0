"""HEADERS, CONTINUATION and DATA as they come: requests at a server, responses at a client (RFC 9113, 6 and 8)."""

from __future__ import annotations

from allcomers.errors import Http2Error
from allcomers.protocol.head import Fields
from allcomers.protocol.http2 import requests
from allcomers.protocol.http2.events import (
    DataReceived,
    PriorityUpdated,
    RequestReceived,
    RequestRefused,
    ResponseReceived,
    TrailersReceived,
)
from allcomers.protocol.http2.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    HEAD_SIZE,
    LAST_STREAM,
    NUMBER,
    PADDED,
    PRIORITY_FLAG,
    PRIORITY_SIZE,
    ErrorCode,
    FrameType,
)
from allcomers.protocol.http2.frames import HEAD as HEAD_OF_FRAME
from allcomers.protocol.http2.heads import RefusedHead
from allcomers.protocol.http2.state import PartialBlock, SessionState
from allcomers.protocol.http2.streams import BODY, ENDED, HEAD, Http2Stream


def on_data(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Report a piece of a body (RFC 9113, 6.1)."""
    size = len(payload)
    if not stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame of a stream without one")
    session.receive_window -= size
    if session.receive_window < 0:
        raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
    found = session.streams.get(stream)
    try:
        if found is None:
            session.check_over(stream)
            session.give_back(size)
            return
        data = _body(session, found, flags, stream, payload)
    except Http2Error:
        session.give_back(size)
        raise
    complete = bool(flags & END_STREAM)
    if size > len(data):  # the padding
        session.give_back(size - len(data))
        session.give_back_on(stream, found, size - len(data))
    found.held += len(data)
    if complete:
        session.received(stream, found)
    session.events.append(DataReceived(stream, data, complete))


def joined_data(session: SessionState, stream: int, payload: bytes, data: bytes, at: int) -> tuple[bytes, int, int]:
    """Return (payload, flags, the place behind) of a DATA frame and those of its stream that follow at `at`, as one.

    PERF: of an upload, four frames come in a read; one by one they cost twice as many instructions in all. Those that
    break a bound are left for on_data().
    """
    found = session.streams.get(stream)
    if found is None or found.receiving != BODY:
        return payload, 0, at
    room = min(session.receive_window, found.window, LAST_STREAM if found.left is None else found.left) - len(payload)
    pieces: list[bytes | memoryview] = [payload]
    view, flags = memoryview(data), 0
    while not flags and len(data) - at > HEAD_SIZE:
        high, low, kind, following, number = HEAD_OF_FRAME.unpack_from(data, at)
        size = high << 8 | low
        end = at + HEAD_SIZE + size
        is_next = kind == FrameType.DATA and number == stream and following in (0, END_STREAM)
        if not is_next or not 0 < size <= min(room, FRAME_SIZE) or end > len(data):
            break
        pieces.append(view[at + HEAD_SIZE : end])
        at, flags, room = end, following, room - size
    return (b"".join(pieces) if len(pieces) > 1 else payload), flags, at


def _body(session: SessionState, found: Http2Stream, flags: int, stream: int, payload: bytes) -> bytes:
    """Return the bytes of the body in a DATA frame, checked against the state, the window, the length."""
    if found.receiving != BODY:
        code = ErrorCode.STREAM_CLOSED if found.receiving == ENDED else ErrorCode.PROTOCOL_ERROR
        raise Http2Error(code, "DATA before a head, or after the end", stream)
    found.window -= len(payload)
    if payload and found.window < 0:  # it may be below 0 by our SETTINGS, and an empty frame still end the body (6.9.1)
        raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window", stream)
    data = _unpadded(payload) if flags & PADDED else payload
    if not data and not flags & END_STREAM:
        session.count("empty_frames")
    if found.left is not None:
        found.left -= len(data)
        if found.left < 0 or (found.left and flags & END_STREAM):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a body is not as long as Content-Length says", stream)
    return data


def on_headers(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Report a head or trailers, or begin a header block in fragments (RFC 9113, 6.2)."""
    if not stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame of a stream without one")
    if flags & (PADDED | PRIORITY_FLAG):
        payload = _stripped(flags, stream, payload)
    if flags & END_HEADERS:
        _on_block(session, stream, payload, bool(flags & END_STREAM))
    else:
        session.block = PartialBlock(stream, bool(flags & END_STREAM), [payload], len(payload))


def on_continuation(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Add a fragment to the header block that has begun (RFC 9113, 6.10)."""
    block = session.block
    if block is None:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION without a header block")
    fragments, size = block.fragments, block.size + len(payload)
    fragments.append(payload)
    if size > max(2 * session.limits.max_head, FRAME_SIZE) or len(fragments) > session.http2.continuations + 1:
        raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large, or has too many frames")
    if flags & END_HEADERS:
        session.block = None
        _on_block(session, stream, b"".join(fragments), block.complete)
    else:
        session.block = block._replace(size=size)


def _on_block(session: SessionState, stream: int, block: bytes, complete: bool) -> None:
    found = session.streams.get(stream)
    if found is not None and found.receiving == HEAD:
        _on_response(session, stream, found, block, complete)
    elif found is not None:
        fields = session.reader.fields(block)
        if found.receiving == ENDED:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "HEADERS after the end", stream)
        _on_trailers(session, stream, found, fields, complete)
    elif session.is_server and stream > session.table.last and stream & 1:
        _on_request(session, stream, block, complete)
    else:
        if not session.table.is_idle(stream):
            session.reader.fields(block)
        session.check_over(stream)


def _on_request(session: SessionState, stream: int, block: bytes, complete: bool) -> None:
    head = session.reader.known.get(block) or session.reader.request(block)
    session.table.add(stream)
    if stream > session.goaway_last:
        return
    if len(session.streams) + session.lingering >= session.http2.max_streams:
        raise Http2Error(ErrorCode.REFUSED_STREAM, "too many streams at once", stream)
    if isinstance(head, RefusedHead):
        if isinstance(head.fault, Http2Error):
            raise Http2Error(head.fault.code, head.fault.reason, stream)
        _open(session, stream, complete, None)
        session.events.append(RequestRefused(stream, head.fault, complete, head.method))
        return
    if complete and head.length:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a body is not as long as Content-Length says", stream)
    _open(session, stream, complete, head.length)
    session.events.append(RequestReceived(stream, head, complete))
    if session.early and (early := session.early.pop(stream, None)) is not None:
        session.events.append(PriorityUpdated(stream, *early))


def _open(session: SessionState, stream: int, complete: bool, length: int | None) -> None:
    session.streams[stream] = Http2Stream(HEAD, ENDED if complete else BODY, session.new_window, length)


def _on_response(session: SessionState, stream: int, found: Http2Stream, block: bytes, complete: bool) -> None:
    head = session.reader.response(block)
    if isinstance(head, RefusedHead):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, head.fault.reason, stream)
    if head.status < 200 and complete:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "an interim response ends its stream", stream)
    session.events.append(ResponseReceived(stream, head.status, head.fields, complete))
    if head.status >= 200:
        found.left = head.length
        found.receiving = BODY
    if complete:
        session.received(stream, found)


def _on_trailers(session: SessionState, stream: int, found: Http2Stream, fields: Fields | None, complete: bool) -> None:
    try:
        if not complete or found.left:
            raise requests.malformed("HEADERS after a head that do not end the stream, or end it too early")
        if fields is None or len(fields) > session.limits.max_headers:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many trailers")
        fields = requests.check_trailers(fields)
    except Http2Error as error:
        raise Http2Error(error.code, error.reason, stream) from None
    session.received(stream, found)
    session.events.append(TrailersReceived(stream, fields))


def _unpadded(payload: bytes) -> bytes:
    """Return the payload of a frame with the flag PADDED without its padding (RFC 9113, 6.1). Raises Http2Error."""
    if not payload or payload[0] >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _stripped(flags: int, stream: int, payload: bytes) -> bytes:
    """Return the fragment in a HEADERS frame that has more than it (RFC 9113, 6.2). Raises Http2Error."""
    if flags & PADDED:
        payload = _unpadded(payload)
    if flags & PRIORITY_FLAG:
        if len(payload) < PRIORITY_SIZE:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame ends within its priority")
        if NUMBER.unpack_from(payload)[0] & LAST_STREAM == stream:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")  # RFC 7540, 5.3.1
        payload = payload[PRIORITY_SIZE:]
    return payload
