"""The rates of what costs a peer nothing, and a server work (CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671)."""

from __future__ import annotations

from allcomers.config.limits import Http2Limits, Rate
from allcomers.errors import Http2Error
from allcomers.protocol.http2.frames import ErrorCode


class FloodGuard:
    """Counts frames of one peer in leaky buckets, one for each Rate of the limits."""

    __slots__ = ("_levels", "_limits")

    def __init__(self, limits: Http2Limits) -> None:
        self._limits = limits
        self._levels: dict[str, tuple[float, float]] = {}  # by name: (level, seconds of the monotonic clock)

    def count(self, name: str, now: float, paid: int = 0) -> None:
        """Count one more of those called `name`, less `paid`. Raises Http2Error (ENHANCE_YOUR_CALM) above the rate."""
        rate: Rate = getattr(self._limits, name)
        level, at = self._levels.get(name, (0.0, now))
        level = max(0.0, level - (now - at) * rate.per_second - paid) + 1
        if level > rate.burst:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, f"too many {name.replace('_', ' ')}")
        self._levels[name] = (level, now)
