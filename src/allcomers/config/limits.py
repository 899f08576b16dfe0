"""The limits of one peer: sizes in bytes, times in seconds, rates in bytes per second."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Sizes, times and the least rate of a connection."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    min_rate: float = 240.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024 * 1024


class WebSocketLimits(NamedTuple):
    """The size of a message, whether it may be compressed, and the times of pings.

    ping_interval  from the last frame to a ping; 0 for never
    ping_timeout   from a ping to its pong
    """

    max_size: int = 16 << 20
    deflate: bool = True
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
