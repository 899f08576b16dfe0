"""The limits of one peer: sizes in bytes, times in seconds, rates in bytes per second."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The most that a peer may send, and the time and rate at which it must."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    min_rate: float = 240.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024 * 1024


class WebSocketLimits(NamedTuple):
    """How large a message may be in bytes, may it be compressed, and when a silent peer is asked for a sign of life.

    ping_interval  seconds, 0 for never; ping_timeout  seconds that it has to answer
    """

    max_size: int = 16 << 20
    deflate: bool = True
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
