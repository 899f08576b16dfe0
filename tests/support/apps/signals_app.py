"""An ASGI app that handles signals itself, as its lifespan sets it up; notes go to the file SIGNALS_FILE.

SIGNALS_DO  "handle": TERM, USR2 and WINCH have handlers; "remove": they are added and removed again
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from support.apps.served import note

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGWINCH)


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    assert scope["type"] == "lifespan"
    path = os.environ["SIGNALS_FILE"]
    loop = asyncio.get_running_loop()
    for signum in SIGNALS:
        loop.add_signal_handler(signum, note, path, signum.name)
        if os.environ["SIGNALS_DO"] == "remove":
            assert loop.remove_signal_handler(signum)
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    note(path, "shut down")
    await send({"type": "lifespan.shutdown.complete"})
