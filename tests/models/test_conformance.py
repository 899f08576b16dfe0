"""The conformance suite on some of its combinations: each model once, each of the other choices with several.

`make conformance` runs it on all.
"""

from __future__ import annotations

from support.conformance import *  # noqa: F403 - its tests, collected here a second time
from support.conformance import Combination

COMBINATIONS = [
    Combination("iterative", tls=False, calls="inline", workers=1),
    Combination("process", tls=True, calls="inline", workers=2),
    Combination("thread", tls=False, calls="pool", workers=2),
    Combination("thread-pool", tls=True, calls="pool", workers=1),
    Combination("select", tls=True, calls="auto", workers=1),
    Combination("poll", tls=False, calls="pool", workers=1),
    Combination("epoll", tls=True, calls="auto", workers=1),
    Combination("epoll-et", tls=False, calls="inline", workers=2),
    Combination("asyncio", tls=True, calls="auto", workers=2),
]
