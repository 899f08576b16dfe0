"""Every option: its default and why, its flag, its check.

`Config` is what a server runs by; `Limits` is the part of it that one connection needs. The command line is built
from the fields' metadata, and so is docs/options.md: an option is written down here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a peer may send and how long it may take: sizes in bytes, times in seconds, rates in bytes/s."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    min_rate: float = 240.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024 * 1024
