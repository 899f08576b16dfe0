"""Coroutines that wait until something changes."""

from __future__ import annotations

import asyncio


class Waiters(list[asyncio.Future[None]]):
    """The receive() and send() of one call that wait for its state to change."""

    __slots__ = ()

    async def wait(self, events: asyncio.AbstractEventLoop) -> None:
        """Wait for the next wake()."""
        future = events.create_future()
        self.append(future)
        try:
            await future
        finally:
            if future in self:
                self.remove(future)

    def wake(self) -> None:
        """Wake all that wait, to look at the state again."""
        for future in self:
            if not future.done():
                future.set_result(None)
        self.clear()
