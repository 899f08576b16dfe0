"""What an app sends on a WebSocket goes out at once where nothing waits before it; else behind that, in its order."""

from __future__ import annotations

import pytest

from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.connection.base import HIGH_WATER, READ, RUNNING, WRITE
from allcomers.connection.codec import Clear
from allcomers.connection.websocket import WebSocketConnection
from allcomers.protocol.websocket.session import WebSocket
from support import offline
from support.frames import BINARY, CLOSE, TEXT, Sent, read


class App:
    ahead = 0

    def message(self, message: str | bytes) -> None: ...
    def look(self, at_once: bool) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...
    def sent(self) -> None: ...


class Socket:
    """A driver whose socket takes `room` bytes more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    def send_now(self, data: bytes) -> int:
        count = min(self.room, len(data))
        self.room -= count
        self.taken += data[:count]
        return count


def opened(room: int) -> tuple[WebSocketConnection, Socket, float]:
    far = offline.http()
    socket = WebSocket(max_size=1 << 20)
    conn = WebSocketConnection(far.conn, socket, App(), Limits(), WebSocketLimits(), b"", far.now)
    conn.driver = driver = Socket(room)  # type: ignore[assignment]
    return conn, driver, far.now


def sent_later(conn: WebSocketConnection, driver: Socket, now: float) -> None:
    """Send what is left, as a driver does."""
    conn.consumed(None, now)
    while conn.wants & WRITE:
        segment = conn.output()
        driver.taken += bytes(segment)  # type: ignore[arg-type]
        conn.sent(len(segment), now)


def test_it_goes_out_at_once() -> None:
    conn, driver, _ = opened(1 << 20)
    conn.socket.text("hello")
    assert conn.flush()
    assert read(driver.taken) == [Sent(TEXT, b"hello")]
    assert (conn.wants, conn.codec.pending) == (READ | RUNNING, False)
    assert not conn.flush(), "there is nothing more to send"


@pytest.mark.parametrize("room", [0, 1, 3, 6])
def test_what_the_socket_does_not_take_goes_out_later_and_in_order(room: int) -> None:
    conn, driver, now = opened(room)
    conn.socket.text("hello")
    assert not conn.flush()
    driver.room = 1 << 20
    conn.socket.binary(b"world")
    assert not conn.flush(), "the first waits before it"
    sent_later(conn, driver, now)
    assert read(driver.taken) == [Sent(TEXT, b"hello"), Sent(BINARY, b"world")]
    assert conn.codec.unsent == 0


def test_a_large_message_has_its_turns() -> None:
    conn, driver, now = opened(1 << 20)
    conn.socket.binary(bytes(HIGH_WATER + 1))
    assert not conn.flush()
    assert driver.taken == b""
    sent_later(conn, driver, now)
    assert read(driver.taken) == [Sent(BINARY, bytes(HIGH_WATER + 1))]


def test_a_close_is_a_step_of_the_connection() -> None:
    conn, driver, now = opened(1 << 20)
    conn.socket.text("bye")
    conn.socket.close()
    assert not conn.flush()
    sent_later(conn, driver, now)
    assert [sent.opcode for sent in read(driver.taken)] == [TEXT, CLOSE]


class Failing(Clear):
    def seal(self, plain: bytes) -> bytes:
        raise OSError


def test_a_codec_that_fails_is_met_again() -> None:
    conn, driver, now = opened(1 << 20)
    conn.codec = Failing()
    conn.socket.text("hello")
    assert not conn.flush()
    sent_later(conn, driver, now)
    assert read(driver.taken) == [Sent(TEXT, b"hello")]
