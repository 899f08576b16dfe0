"""Report what nobody expected to be raised, where all others are to go on: a fault ends one peer, or one call."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

_logger = logging.getLogger("allcomers.worker")

PAUSE: Final = 0.1
"""Seconds to wait where the server itself lacks memory: at once it would lack it again."""


def report(error: BaseException, text: str, *args: object) -> None:
    """Log `text % args` and the traceback of `error`. Raise nothing, also where there is no memory for that."""
    with suppress(Exception):
        _logger.error(text, *args, exc_info=error)


def report_peer(error: BaseException, peer: str) -> None:
    """Report `error`, which a step of `peer` has raised; raise nothing.

    peer  its address; "" on a Unix socket
    """
    report(error, "the connection of %s failed", peer or "a local peer")
