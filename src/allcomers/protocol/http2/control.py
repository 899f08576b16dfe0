"""The frames that carry no message: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, priorities (RFC 9113, 6)."""

from __future__ import annotations

from allcomers.errors import Http2Error
from allcomers.protocol.fields import priority
from allcomers.protocol.hpack.decoder import TABLE_SIZE
from allcomers.protocol.hpack.encoder import NO_TABLE
from allcomers.protocol.http2 import frames
from allcomers.protocol.http2.events import (
    GoawayReceived,
    PingAcknowledged,
    PriorityUpdated,
    StreamReset,
    WindowOpened,
)
from allcomers.protocol.http2.frames import (
    ACK,
    FRAME_SIZE,
    LAST_STREAM,
    MOST_FRAME_SIZE,
    MOST_WINDOW,
    NUMBER,
    PRIORITY_SIZE,
    SETTING,
    WINDOW,
    ErrorCode,
    Setting,
)
from allcomers.protocol.http2.state import SessionState


def on_settings(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Take SETTINGS and acknowledge them, or take an acknowledgement (RFC 9113, 6.5)."""
    _check_connection(stream)
    if len(payload) % SETTING.size or (flags & ACK and payload):
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a size that they cannot have")
    if flags & ACK:
        _on_acknowledgement(session)
        return
    session.count("settings")
    window = session.peer_window
    most = max([found.credit for found in session.streams.values()], default=0)
    for setting, value in SETTING.iter_unpack(payload):
        _apply(session, setting, value, most)
    session.queue.append(frames.SETTINGS_ACK)
    if session.peer_window > window:
        session.events.append(WindowOpened(0))


def _on_acknowledgement(session: SessionState) -> None:
    """Let a stream_window hold that is smaller than the peer could know before (RFC 9113, 6.9.2)."""
    excess = WINDOW - session.http2.stream_window
    if excess > 0 and not session.is_acknowledged:
        for found in session.streams.values():
            found.window -= excess
    session.is_acknowledged = True


def _apply(session: SessionState, setting: int, value: int, most: int) -> None:
    """Set one of the peer's SETTINGS (RFC 9113, 6.5.2); `most` is the greatest credit of a stream."""
    if setting == Setting.HEADER_TABLE_SIZE:
        if value < TABLE_SIZE:
            session.prefix = NO_TABLE
    elif setting == Setting.INITIAL_WINDOW_SIZE:
        if value + max(most, 0) > MOST_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window is beyond its greatest size")
        session.peer_window = value
    elif setting == Setting.MAX_FRAME_SIZE:
        if not FRAME_SIZE <= value <= MOST_FRAME_SIZE:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a greatest frame size that none may have")
        session.max_frame = value
    elif setting == Setting.MAX_CONCURRENT_STREAMS:
        session.peer_streams = value
    elif setting in _BOOLEANS:
        if value > 1 or (setting == Setting.ENABLE_PUSH and value and not session.is_server):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a setting that is 0 or 1 is neither")
        if setting == Setting.ENABLE_CONNECT_PROTOCOL:
            session.peer_connect = value == 1


_BOOLEANS = (Setting.ENABLE_PUSH, Setting.ENABLE_CONNECT_PROTOCOL, Setting.NO_RFC7540_PRIORITIES)


def on_ping(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Answer a PING, or report the answer to one (RFC 9113, 6.7)."""
    _check_connection(stream)
    _check_size(payload, 8)
    if flags & ACK:
        session.events.append(PingAcknowledged(payload))
        return
    session.count("pings")
    session.queue.append(frames.ping(payload, ACK))


def on_goaway(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Note that the peer leaves; requests that it will not take are reset (RFC 9113, 6.8)."""
    _check_connection(stream)
    if len(payload) < 8:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is too short")
    last = NUMBER.unpack_from(payload)[0] & LAST_STREAM
    code = NUMBER.unpack_from(payload, 4)[0]
    session.peer_goaway = last
    session.events.append(GoawayReceived(last, code))
    if not session.is_server:
        for refused in [number for number in session.streams if number > last]:
            session.forget(refused, by_peer=True)
            session.events.append(StreamReset(refused, ErrorCode.REFUSED_STREAM, "the server leaves", remote=True))


def on_window_update(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Open the window of a stream, or of the connection (RFC 9113, 6.9)."""
    _check_size(payload, 4)
    increment = NUMBER.unpack(payload)[0] & MOST_WINDOW
    paid, session.data_frames = 2 * session.data_frames, 0
    session.count("window_updates", paid)
    if not stream:
        session.send_window += increment
        if not increment or session.send_window > MOST_WINDOW:
            raise _window_error(increment)
    else:
        found = session.streams.get(stream)
        if found is None:
            session.check_opened(stream)
            return
        found.credit += increment
        if not increment or session.peer_window + found.credit > MOST_WINDOW:
            raise _window_error(increment, stream)
    session.events.append(WindowOpened(stream))


def _window_error(increment: int, stream: int = 0) -> Http2Error:
    if not increment:
        return Http2Error(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0", stream)
    return Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window is beyond its greatest size", stream)


def on_reset(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """End a stream that the peer has reset (RFC 9113, 6.4)."""
    _check_size(payload, 4)
    session.check_opened(stream)
    session.count("resets")
    if stream in session.streams:
        session.forget(stream, by_peer=True)
        session.events.append(StreamReset(stream, NUMBER.unpack(payload)[0], "reset by the peer", remote=True))


def on_priority(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Ignore the priority of RFC 7540, once it is well-formed (RFC 9113, 6.3)."""
    session.count("priorities")
    if not stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a PRIORITY without a stream")
    _check_size(payload, PRIORITY_SIZE)
    if NUMBER.unpack_from(payload)[0] & LAST_STREAM == stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")  # RFC 7540, 5.3.1


def on_push_promise(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Refuse a push: a client sends none, and to a client of ours none is allowed (RFC 9113, 6.6 and 8.4)."""
    raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a PUSH_PROMISE")


def on_priority_update(session: SessionState, flags: int, stream: int, payload: bytes) -> None:
    """Report the new priority of a stream, or keep it until the stream is opened (RFC 9218, 7.1)."""
    _check_connection(stream)
    session.count("priorities")
    if len(payload) < 4:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY_UPDATE is too short")
    changed = NUMBER.unpack_from(payload)[0] & LAST_STREAM
    if not session.is_server or not changed & 1:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a PRIORITY_UPDATE of a stream that is no request")
    value = priority.parse(payload[4:])
    if changed in session.streams:
        session.events.append(PriorityUpdated(changed, *value))
    elif changed > session.table.last and (changed in session.early or len(session.early) < session.http2.max_streams):
        session.early[changed] = value


def _check_connection(stream: int) -> None:
    if stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame of the connection on a stream")


def _check_size(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame has another size than its type has")
