"""The asyncio model: an asyncio event loop watches the same connections by add_reader and add_writer.

    loop: select → callback for each that is ready → select → …

The same connections and the same steps as under the pollers; only the waiting is asyncio's, or uvloop's where that is
installed (the extra `allcomers[uvloop]`). asyncio's transports and streams are not used: they cost much more.

On Linux the event loop watches one descriptor, that of an epoll object which watches the peers (epoll(7)): so one
callback reports all that are ready, rather than one each.

Use it for async apps, and where an app has coroutines of its own to run beside the server.

An async app under another poller has the same event loop on that poller: asyncio has a selector for each.
"""

from __future__ import annotations

import asyncio

from allcomers.models.driver.asyncio_adapter import drive, drive_here
from allcomers.models.driver.serving import Serving
from allcomers.system.asyncio_loops import new_event_loop
from allcomers.system.native.primitives import epoll


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last peer has gone."""
    events = new_event_loop()
    try:
        serve_on(serving, events)
    finally:
        events.close()


def serve_on(serving: Serving, events: asyncio.AbstractEventLoop) -> None:
    """Serve on this event loop, which stays open."""
    if epoll is None:
        drive(serving, events, None)
        return
    from allcomers.models.epoll_loop import EpollPoller

    drive(serving, events, EpollPoller())


async def serve_here(serving: Serving) -> None:
    """Serve on the event loop that runs this, beside its other tasks."""
    if epoll is None:
        await drive_here(serving, None)
        return
    from allcomers.models.epoll_loop import EpollPoller

    await drive_here(serving, EpollPoller())
