"""The limits of one peer: sizes in bytes, times in seconds, rates in bytes per second."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Limits(NamedTuple):
    """Sizes, times and the least rate of a connection.

    max_requests     of a connection, whose last response closes it
    request_timeout  from the first byte of a request to the last of its response; 0 for any time
    """

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    min_rate: float = 240.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024 * 1024
    max_requests: int = sys.maxsize
    request_timeout: float = 0.0


class InputLimits(NamedTuple):
    """The sizes of what `request.form` and `request.json()` read, in bytes; the fields of a form or a query.

    form_parts  fields and files of a form with files
    file_size   of one of its files; 0 for any that fits into a body
    """

    form_size: int = 1 << 20
    form_fields: int = 1000
    json_size: int = 10 << 20
    form_parts: int = 1000
    file_size: int = 0


class WebSocketLimits(NamedTuple):
    """The size of a message, whether it may be compressed, and the times of pings.

    ping_interval  from the last frame to a ping; 0 for never
    ping_timeout   from a ping to its pong
    """

    max_size: int = 16 << 20
    deflate: bool = True
    ping_interval: float = 20.0
    ping_timeout: float = 20.0


class Rate(NamedTuple):
    """So many at once, and so many a second from then on."""

    burst: int
    per_second: float


class Http2Limits(NamedTuple):
    """The limits that HTTP/2 adds to those of a peer; sizes in bytes.

    max_streams        requests of a connection at once
    stream_window      of a request's body, ahead of its app
    connection_window  of all bodies of a connection
    continuations      frames of a header block after its first

    The rates are those of: streams that the peer resets; streams that end by its fault or are refused; PING; SETTINGS;
    DATA without bytes; PRIORITY and PRIORITY_UPDATE; WINDOW_UPDATE beyond two for each frame of DATA sent.
    """

    max_streams: int = 128
    stream_window: int = 256 * 1024
    connection_window: int = 1024 * 1024
    continuations: int = 16
    resets: Rate = Rate(1000, 100)
    faults: Rate = Rate(256, 16)
    pings: Rate = Rate(1000, 100)
    settings: Rate = Rate(100, 10)
    empty_frames: Rate = Rate(100, 10)
    priorities: Rate = Rate(1000, 100)
    window_updates: Rate = Rate(1000, 100)
