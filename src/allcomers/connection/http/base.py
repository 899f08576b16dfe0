"""The part of an HTTP connection that all versions share: what waits to be logged, refusals, leaving."""

from __future__ import annotations

from collections.abc import Iterable

from allcomers.connection.base import HIGH_WATER, Connection
from allcomers.connection.call import Address, PartialResponse
from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.connection.http.exchange import RequestLine
from allcomers.connection.http.log_record import AccessRecord
from allcomers.errors import ClientGone
from allcomers.protocol.message import Request


class HttpConnection(Connection):
    """One client of an HttpEndpoint. Deliveries are AccessRecords and PartialResponses."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: HttpEndpoint, address: Address, now: float) -> None:
        super().__init__(endpoint.limits, address, endpoint.tls, now, endpoint.counters, endpoint.ledger)
        self.endpoint = endpoint

    def _delivered(self, item: AccessRecord | PartialResponse, now: float) -> None:
        if isinstance(item, PartialResponse):
            item.end(None)
        else:
            item.finish(self.endpoint, self.peer, now)

    def _finish_undelivered(self, now: float) -> None:
        """Log the responses that have not gone out whole, and report the parts: the connection is lost."""
        gone = self.codec.queued - self.codec.unsent
        for mark, _, _, item in self._deliveries or ():
            missing = max(0, mark - gone)
            if isinstance(item, PartialResponse):  # a thread may wait for it
                item.end(ClientGone("the client has gone") if missing else None)
            elif item is not None:
                item.sent -= min(missing, item.sent)
                item.finish(self.endpoint, self.peer, now)

    def _log_aborted(
        self,
        request: Request | None,
        line: RequestLine,
        status: int,
        sent: int,
        started: float,
        headers: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        """Log a response after which nothing comes, once it has gone out: the request may not even be whole."""
        if self.endpoint.log is not None:
            self._deliver_later(None, started, AccessRecord(request, line, status, sent, started, headers), now)

    def _deliver_adopted(self, records: Iterable[AccessRecord], now: float) -> None:
        """Queue the records of responses that a driver has queued, and counted, by itself."""
        mark = self.codec.queued
        deliveries = []
        for record in reversed(list(records)):
            deliveries.append((mark, None, 0.0, record))
            mark -= record.sent
        self._deliveries = [*(self._deliveries or ()), *reversed(deliveries)]

    def _idle_timeout(self) -> float:
        return self._limits.keep_alive

    def _may_call(self) -> bool:
        return self.codec.unsent < HIGH_WATER
