"""The parts that a worker is assembled of, and a server in another program's process: by the options, around a slot."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers import calls, models
from allcomers.calls.overload.admission import Admission
from allcomers.config.options import Config
from allcomers.models.driver.serving import Serving
from allcomers.system import counters, sockets
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.client_counts import ClientLimit
from allcomers.system.memory.ledger import Ledger, default_max_memory, default_max_spool, temp_folder
from allcomers.system.signals import Orders

if TYPE_CHECKING:
    from allcomers.calls.protocols import Calls
    from allcomers.models.driver.serving import Endpoint
    from allcomers.system.diagnostics.board import DiagnosticBoard
    from allcomers.system.diagnostics.route_board import RouteCounts

_logger = logging.getLogger("allcomers.worker")


def serving_of(
    config: Config,
    endpoint: Endpoint,
    listeners: list[socket.socket],
    orders: Orders,
    slot: WorkerSlot,
    request_replacement: Callable[[str], object],
) -> Serving:
    """Return the arguments of the endpoint's model, and write down in the slot's row what serves."""
    model = config.model or ("asyncio" if endpoint.is_async else models.best())
    cells = slot.counters.cells
    cells[counters.MODEL] = 1 + list(models.TABLE).index(model)
    cells[counters.KIND] = counters.KINDS.index(endpoint.kind)
    cells[counters.WHERE] = counters.WHERES.index(endpoint.calls)
    target = config.overload_target if config.overload == "auto" and endpoint.http is not None else math.inf
    admission = Admission(target, slot.counters, tasks=endpoint.is_async)
    return Serving(
        endpoint=endpoint,
        listeners=listeners,
        calls=_calls(config, endpoint, slot, request_replacement, admission),
        signals=orders,
        slot=slot,
        threads=config.threads,
        max_connections=config.max_connections or None,
        admission=admission,
    )


def _calls(
    config: Config,
    endpoint: Endpoint,
    slot: WorkerSlot,
    request_replacement: Callable[[str], object],
    admission: Admission,
) -> Calls:
    limit = 0.0 if endpoint.is_async and endpoint.calls == "inline" else config.call_limit
    if limit and config.model and models.get(config.model).is_patched:
        from allcomers.models.greenlets.calls import TimedGreenlets

        return TimedGreenlets(limit)
    return calls.make(
        endpoint.calls, config.threads, limit, request_replacement, slot.counters, admission, config.gather
    )


def report_dropped(serving: Serving) -> None:
    """Count and log the calls that no thread has taken by now, and none will."""
    if count := serving.admission.queued():
        for counter in (counters.DEQUEUED, counters.DROPPED_CALLS):
            serving.slot.counters.add(counter, count)
        _logger.warning("calls that waited for a thread, and are dropped: %d; the worker ends", count)


def client_limit_of(config: Config, slot: WorkerSlot) -> ClientLimit | None:
    """Return the limit on the connections of one client; None for none."""
    if not config.max_connections_per_client or slot.clients is None or not slot.place:
        return None
    return ClientLimit(slot.clients, slot.place, config.max_connections_per_client, _report_refused)


def _report_refused(peer: str, count: int) -> None:
    text = "%d connections refused of clients that have --max-connections-per-client already, the last of %s"
    _logger.warning(text, count, peer)


def ledger_of(config: Config, slot: WorkerSlot) -> Ledger:
    """Return the account of what this process holds for its peers."""
    return Ledger(
        slot.counters,
        slot.shares,
        max_memory=config.max_memory_held or default_max_memory(),
        max_spool=config.max_spool or default_max_spool(temp_folder()),
    )


def routes_of(board: DiagnosticBoard | None, slot: WorkerSlot) -> RouteCounts | None:
    """Return what counts requests by route; None where nobody looks, or the worker has no rows for it."""
    if board is None or board.routes is None or not slot.place:
        return None
    from allcomers.system.diagnostics.route_board import PLACES, RouteCounts

    return RouteCounts(board.routes, slot.place) if slot.place < PLACES else None


def listen_now(listeners: list[socket.socket], backlog: int) -> None:
    """Make the sockets listen, unless another worker has. Raises ListenError.

    Here, and not in the supervisor: so no model ever waits for a socket that does not listen yet.
    """
    for listener in listeners:
        if not sockets.is_listening(listener):
            sockets.listen(listener, backlog)
