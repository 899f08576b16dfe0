"""A server in this process: the model runs in one thread, or on an event loop that has other tasks, too.

There is no supervisor: nobody replaces what hangs, and signals are the caller's. What a server needs ends with it, for
the process goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from allcomers.config.options import Config
from allcomers.protocol.body import Body, NoLedger
from allcomers.server.assembly import client_limit_of, ledger_of, listen_now, report_dropped, serving_of
from allcomers.server.control_pipe import APP_SHUTDOWN
from allcomers.server.endpoint import endpoint, settle_patches
from allcomers.server.hooks.hooks import LifeHooks
from allcomers.server.supervisor.listeners import Listeners, Ready
from allcomers.server.worker import access_log_of
from allcomers.system.accept_balance import WorkerSlots
from allcomers.system.processes import forks
from allcomers.system.signals import Orders

if TYPE_CHECKING:
    import asyncio

    from allcomers.models.driver.serving import Endpoint, Serving
    from allcomers.server.access_log import AccessLog

_logger = logging.getLogger("allcomers.worker")


class InProcess:
    """A server from its sockets to their end: use serve() or serve_here(), once.

    load    makes the target, in the thread that serves
    orders  end it: drain, quit

    The sockets are opened here. Raises ListenError, ConfigError.
    """

    def __init__(self, load: Callable[[], Any], config: Config, orders: Orders) -> None:
        self._load = load
        self._config = config
        self._orders = orders
        self._listeners = Listeners()
        try:
            self._listeners.open_all(config, lambda text: [])
        except BaseException:
            self._listeners.close()
            raise
        slots = WorkerSlots()
        if config.max_connections_per_client:
            slots.count_clients()
        self._slot = slots.acquire()
        self._log: AccessLog | None = None
        self._hooks = LifeHooks(config)
        self._has_started = False
        _install_forks()
        forks.keep(self)

    def filenos(self) -> Iterable[int]:
        """Return the descriptors that a fork of this process is not to have."""
        return (*self._orders.filenos(), *(listener.fileno() for listener in self._listeners.all))

    def serve(self, ready: Ready) -> None:
        """Serve in this thread until an order ends it; call `ready` when clients can connect.

        Raises OperatorError where the app cannot be served.
        """
        try:
            served, serving = self._assemble(None)
            try:
                if served.life is not None:
                    served.life.begin(self._orders.listen)
                self._listen(served, ready)
                served.serve(serving)
            finally:
                self._wind_up(serving)
                if served.life is not None:
                    served.life.end(self._orders.deadline, APP_SHUTDOWN)
        finally:
            self._close()

    async def serve_here(self, ready: Ready) -> None:
        """Do the same on the event loop that runs this, beside its other tasks."""
        import asyncio

        from allcomers.models.asyncio_loop import serve_here

        try:
            served, serving = self._assemble(asyncio.get_running_loop())
            try:
                if served.life is not None:
                    await served.life.start()
                self._listen(served, ready)
                await serve_here(serving)
            finally:
                self._wind_up(serving)
                if served.life is not None:
                    await served.life.stop(self._orders.deadline, APP_SHUTDOWN)
                    served.life.close()
        finally:
            self._close()

    def _listen(self, served: Endpoint, ready: Ready) -> None:
        listen_now(self._listeners.all, self._config.backlog)
        ready(self._listeners.names(served.scheme), self._listeners.port)

    def _assemble(self, events: asyncio.AbstractEventLoop | None) -> tuple[Endpoint, Serving]:
        config, slot = self._config, self._slot
        self._hooks.start()
        self._hooks.worker_start(slot.place)
        self._has_started = True
        ledger = ledger_of(config, slot)
        if isinstance(Body.ledger, NoLedger):  # the first one counts the bodies of all servers of a process
            Body.ledger = ledger
        self._log = access_log_of(config, -1, default="off")
        clients = client_limit_of(config, slot)
        served = endpoint(
            self._load(),
            config,
            self._log,
            None,
            _report_wish,
            slot.counters,
            clients,
            ledger,
            events,
            self._listeners.all,
        )
        settle_patches(config, served)
        return served, serving_of(config, served, self._listeners.all, self._orders, slot, _report_wish)

    def _wind_up(self, serving: Serving) -> None:
        """End the threads of calls; after an error nothing else is waited for."""
        if not self._orders.draining:
            self._orders.quit()
        report_dropped(serving)
        serving.calls.close()

    def _close(self) -> None:
        if self._has_started:
            self._hooks.worker_stop(self._slot.place)
            self._hooks.stop()
        self._listeners.shut_out()
        self._listeners.close()
        self._slot.leave()
        if self._log is not None:
            self._log.close()


@cache
def _install_forks() -> None:
    """Keep the servers of this process out of its forks (forks.py); once."""
    forks.install(lambda: (), lambda: None)


def _report_wish(reason: str) -> None:
    """Report that a supervisor would now replace this process."""
    _logger.error("a worker would be replaced now: %s; this server has no supervisor (allcomers.run has one)", reason)
