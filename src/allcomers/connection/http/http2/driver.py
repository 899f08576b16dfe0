"""What the call of one stream of an HTTP/2 connection knows of its client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcomers.connection.call import Driver
    from allcomers.connection.http.async_call import Asker


class StreamDriver:
    """A call.Driver, and an async_call.Asker, of one stream.

    exchange  the StreamExchange; None while a fast path has the request, which is the only one then
    """

    __slots__ = ("_driver", "exchange")

    def __init__(self, driver: Driver, exchange: Any = None) -> None:
        self._driver: Any = driver  # an Asker, too, where it is of a fast path
        self.exchange = exchange

    @property
    def driver(self) -> StreamDriver | None:
        exchange = self.exchange
        return None if exchange is not None and exchange.driver is None else self

    def hint(self, links: Iterable[bytes]) -> None:
        asker: Asker = self.exchange or self._driver
        asker.hint(links)

    def post(self, call: Any, reply: Any) -> bool:
        return bool(self._driver.post(call, reply))

    def said(self, reply: Any) -> bool:
        return bool(self._driver.post(self, reply))

    def push(self, piece: bytes) -> int:
        """Return 0: a piece is framed by its connection."""
        return 0

    def send_now(self, data: bytes) -> int:
        return 0

    def outflow(self, call: Any = None) -> Any:
        return self._driver.outflow(self)

    def cut(self) -> None:
        self._driver.cut()

    def fileno(self) -> int:
        return int(self._driver.fileno())

    def disconnected(self, *, both: bool = False) -> bool:
        exchange = self.exchange
        return (exchange is not None and exchange.over) or bool(self._driver.disconnected(both=both))

    def app_socket(self) -> None:
        """Return None: others use the socket, too."""
