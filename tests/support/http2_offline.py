"""An HTTP/2 client of a connection with nobody around it but the test: no socket, and a clock that stands still."""

from __future__ import annotations

from typing import Any

from allcomers.connection.http.http2.connection import Http2Connection
from allcomers.protocol.message import Handler
from support import offline
from support.http2_client import Http2Peer, Reply


class OfflineHttp2(Http2Peer):
    """A client, and the Far that drives its connection.

    far   has the clock, and what the connection sends
    conn  the Http2Connection
    """

    conn: Http2Connection

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        opens: bool = True,
        shared: dict[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(opens=opens, checks=False)
        self.far = offline.http(handler, shared={"http2": Http2Connection, **(shared or {})}, **keywords)
        self.calls = True
        first = self.far.conn
        self.far.hear(self.h2.data_to_send())
        assert isinstance(first.successor, Http2Connection)
        self.far.conn = self.conn = first.successor
        self.listen()

    def transmit(self, data: bytes) -> None:
        self.far.hear(data, calls=self.calls)
        self.listen()

    def listen(self) -> None:
        """Do what the connection wants, and note what it sends."""
        self.far.run(calls=self.calls)
        while said := self.far.said:
            self.far.said = b""
            self.take(said)
            if data := self.h2.data_to_send():
                self.far.hear(data, calls=self.calls)
        self.ended = self.far.closed

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.far.sleep(seconds)
        self.listen()

    def reply(self, stream: int) -> Reply:
        """What has come in `stream`."""
        return self.replies[stream]
