"""Bounds over all peers, as connections keep them: what is counted, who is ended, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import offline
from tests.support.frames import BINARY, CONT, PING, PONG, TEXT, deflated, frame, read
from tests.support.http2_offline import OfflineHttp2
from tests.support.offline import Far

from allcomers.apps.service import Service
from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.connection.base import CALL, HIGH_WATER, READ, WRITE, Connection
from allcomers.connection.websocket import TOO_MUCH_HELD, TOO_SLOW, WebSocketConnection
from allcomers.protocol.body import SPOOL_AT, Body
from allcomers.protocol.framing import LengthPrefixed
from allcomers.protocol.http2.frames import FrameType, frame_head
from allcomers.protocol.message import FileSlice, Request, Response
from allcomers.protocol.websocket.frames import Windows
from allcomers.protocol.websocket.session import WebSocket
from allcomers.system.accept_balance import WorkerSlots
from allcomers.system.counters import HELD_CUT, HELD_REFUSED, MEMORY_HELD, SPOOL_HELD
from allcomers.system.memory.ledger import RETRY_AFTER, Ledger

MIB = 1 << 20
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Cutter:
    """The driver of an offline connection, as far as the ledger needs one."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def cut(self) -> None:
        self._conn.cut(offline.START)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerSlots]:
    yield (slots := WorkerSlots())
    row = slots.board.row(1)
    assert row[SPOOL_HELD] == 0, "a closed connection still holds a file"


def account(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch, **bounds: int) -> Ledger:
    slot = slots.acquire()
    ledger = Ledger(slot.counters, slot.shares, **bounds)
    monkeypatch.setattr(Body, "ledger", ledger)
    return ledger


def peer(ledger: Ledger, body: object = b"Hello", *, room: int | None = None) -> Far:
    far = offline.http(lambda request: Response(body), ledger=ledger, room=room)  # type: ignore[arg-type]
    far.conn.driver = Cutter(far.conn)  # type: ignore[assignment]
    return far


# ---------------------------------------------------------------- requests


def test_a_body_counts_until_its_response(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    row = slots.board.row(1)

    def handler(request: Request) -> Response:
        held.append((row[MEMORY_HELD], row[SPOOL_HELD]))
        return Response(b"%d" % len(request.body))

    ledger = account(slots, monkeypatch)
    for size in (100_000, SPOOL_AT + 1):
        far = offline.http(handler, ledger=ledger)
        far.hear(POST % size + b"x" * size)
        assert offline.statuses(far.said) == [200]
        assert (row[MEMORY_HELD], row[SPOOL_HELD]) == (0, 0)
    assert held == [(100_000, 0), (0, SPOOL_AT + 1)]


@pytest.mark.parametrize("end", ["lost", "expired", "refused"])
def test_a_body_that_never_ends_is_given_back(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    row = slots.board.row(1)
    far = peer(account(slots, monkeypatch))
    far.hear(POST % (2 * SPOOL_AT) + b"x" * (SPOOL_AT + 1))
    assert row[SPOOL_HELD] == SPOOL_AT + 1
    if end == "lost":
        far.lose()
    elif end == "expired":
        far.sleep(60)
    else:
        far.end()
    assert (row[MEMORY_HELD], row[SPOOL_HELD]) == (0, 0)


def test_a_request_whose_body_has_no_room_on_disk_is_refused(
    slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = peer(account(slots, monkeypatch, max_spool=100))
    far.hear(POST % (2 * SPOOL_AT) + b"x" * 2 * SPOOL_AT)
    (status, fields, body), *more = offline.answers(far.said)
    assert (status, fields["retry-after"], fields["connection"]) == (503, str(RETRY_AFTER), "close")
    assert body.startswith(b"too much is held")
    assert not more
    assert slots.board.row(1)[HELD_REFUSED] == 1
    far.sleep(10)
    assert far.closed
    assert slots.board.row(1)[MEMORY_HELD] == 0


def test_at_the_bound_new_requests_are_refused(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=MIB)
    ledger.hold_memory(MIB)
    refused = peer(ledger)
    refused.hear(GET)
    assert [(status, fields["retry-after"]) for status, fields, _ in offline.answers(refused.said)] == [(503, "5")]
    refused.hear(GET)
    assert len(offline.answers(refused.said)) == 1, "the connection goes on"
    ledger.hold_memory(-MIB)
    served = peer(ledger)
    served.hear(GET)
    assert offline.statuses(served.said) == [200]


def test_a_head_that_does_not_end_counts(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    far = peer(account(slots, monkeypatch))
    far.hear(GET[:-2] + b"X-Long: " + b"x" * 20_000)
    assert slots.board.row(1)[MEMORY_HELD] > 20_000
    far.sleep(30)
    assert slots.board.row(1)[MEMORY_HELD] == 0


def test_a_message_of_a_service_counts(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    class Echo(Service):
        framing = LengthPrefixed()

    far = offline.service(Echo, ledger=account(slots, monkeypatch))
    far.hear((200_000).to_bytes(4, "big") + b"x" * 100_000)
    assert slots.board.row(1)[MEMORY_HELD] == 100_004
    far.lose()
    assert slots.board.row(1)[MEMORY_HELD] == 0


# ---------------------------------------------------------------- responses


def test_the_greediest_unread_response_is_cut(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=8 * MIB)
    peers = [peer(ledger, b"x" * size * MIB, room=1000) for size in (3, 4, 2)]
    for far in peers:
        far.hear(GET)
    assert [far.closed for far in peers] == [False, True, False]
    row = slots.board.row(1)
    assert row[HELD_CUT] == 1
    assert 5 * MIB <= row[MEMORY_HELD] < 5 * MIB + 1000
    peers[0].take(3 * MIB - 2000)
    assert row[MEMORY_HELD] >= 5 * MIB, "a part of a body holds all of it"
    peers[0].take(4000)
    assert row[MEMORY_HELD] < 3 * MIB
    peers[2].lose()
    assert row[MEMORY_HELD] == 0
    peers[0].hear(GET)
    assert row[MEMORY_HELD] == 3 * MIB


def test_what_a_socket_takes_at_once_is_not_counted(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=MIB)
    monkeypatch.setattr(ledger, "hold", lambda *_: pytest.fail("a common response was counted"))
    far = peer(ledger, b"x" * 16_000)
    far.hear(GET)
    far.hear(POST % 1000 + b"x" * 1000)
    assert offline.statuses(far.said) == [200, 200]


def test_files_are_not_memory(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 2 * MIB)
    with path.open("rb") as file:
        far = peer(account(slots, monkeypatch), FileSlice(file, 0, 2 * MIB), room=100_000)
        far.hear(GET)
        assert not far.closed
        assert slots.board.row(1)[MEMORY_HELD] == 0
        far.lose()


# ---------------------------------------------------------------- WebSockets


class App:
    """A WebSocketApp that consumes at once, unless it `keeps`."""

    def __init__(self) -> None:
        self.ahead = 0
        self.keeps = False
        self.messages: list[str | bytes] = []
        self.end: tuple[int, str] | None = None

    def message(self, message: str | bytes) -> None:
        self.messages.append(message)
        self.ahead += len(message) if self.keeps else 0

    def look(self, at_once: bool) -> None: ...
    def closed(self, code: int, reason: str) -> None:
        self.end = self.end or (code, reason)

    def sent(self) -> None:
        pass


class Client:
    """A WebSocket's client, whose socket takes all unless it is `stuck`."""

    def __init__(self, ledger: Ledger, **limits: float) -> None:
        far = offline.http(ledger=ledger)
        self.app = App()
        self.now = far.now
        self.stuck = False
        self.said = b""
        own = WebSocketLimits(ping_interval=0)
        socket = WebSocket(max_size=16 * MIB, windows=Windows(15, 12))
        self.conn = WebSocketConnection(far.conn, socket, self.app, Limits(**limits), own, b"", far.now)  # type: ignore[arg-type]
        self.conn.driver = Cutter(self.conn)  # type: ignore[assignment]

    def send(self, data: bytes) -> None:
        assert self.conn.wants & READ
        self.conn.received(data, self.now)
        self.run()

    def run(self) -> None:
        while self.conn.wants & WRITE and not self.stuck:
            segment = self.conn.output()
            self.said += segment  # type: ignore[operator]
            self.conn.sent(len(segment), self.now)
        while self.conn.wants & CALL:
            call = self.conn.take_call()
            self.conn.answered(call, call(), self.now)

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.conn.wants and self.conn.deadline <= until:
            before = self.conn.deadline
            self.now = max(self.now, before)
            self.conn.expired(self.now)
            self.run()
            assert not self.conn.wants or self.conn.deadline > before, "a spin"
        self.now = until

    @property
    def code(self) -> int | None:
        return self.app.end and self.app.end[0]


BOMB = frame(BINARY, deflated(bytes(4 * MIB)), fin=False, reserved=4)


def test_inflated_bytes_of_a_begun_message_count(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=10 * MIB)
    clients = [Client(ledger) for _ in range(6)]
    for client in clients:
        client.send(BOMB)
    assert [client.code for client in clients] == [TOO_MUCH_HELD] * 4 + [None] * 2
    clients[0].run()
    assert read(clients[0].said)[-1].payload[:2] == TOO_MUCH_HELD.to_bytes(2, "big")
    row = slots.board.row(1)
    assert (row[MEMORY_HELD], row[HELD_CUT]) == (8 * MIB, 4)
    clients[5].send(frame(CONT))
    assert clients[5].app.messages == [bytes(4 * MIB)]
    assert row[MEMORY_HELD] == 4 * MIB


@pytest.mark.parametrize("begun", [BOMB, frame(TEXT, b"x", fin=False), frame(BINARY, b"abc", size=200)[:-1]])
def test_a_begun_message_keeps_the_minimum_rate(
    slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """Answers to pings are no progress of it, nor is reading what the server sends."""
    client = Client(account(slots, monkeypatch))
    client.send(begun)
    for _ in range(4):
        client.sleep(1.0)
        if begun[1] & 127 != 126:  # not within a frame
            client.send(frame(PONG, b"x" * 100) * 10)
    client.sleep(2.0)
    assert client.code == TOO_SLOW
    assert client.conn.phase.name in ("CLOSING", "CLOSED")
    assert slots.board.row(1)[MEMORY_HELD] == 0


def test_it_keeps_it_also_while_it_is_sent_to(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(account(slots, monkeypatch))
    client.send(frame(TEXT, b"x", fin=False))
    client.stuck = True
    client.send(frame(PING, b"x"))
    client.sleep(4.9)
    assert client.code is None
    client.stuck = False
    client.run()
    client.sleep(0.2)
    assert client.code == TOO_SLOW


def test_a_message_that_comes_at_the_rate_goes_on(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(account(slots, monkeypatch), min_rate=240.0)
    client.send(frame(BINARY, b"x" * 300, fin=False))
    for _ in range(60):
        client.sleep(1.0)
        client.send(frame(CONT, b"x" * 300, fin=False))
    client.send(frame(CONT, b"x"))
    assert len(client.app.messages) == 1
    client.sleep(600)
    assert client.code is None, "no message has begun: there is no deadline"


def test_the_time_in_which_the_app_takes_nothing_is_not_the_clients(
    slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(account(slots, monkeypatch))
    client.app.keeps = True
    client.send(frame(BINARY, b"x" * HIGH_WATER) + frame(BINARY, b"y", fin=False))
    assert not client.conn.wants & READ
    assert slots.board.row(1)[MEMORY_HELD] > HIGH_WATER, "what the app has not received is held, too"
    client.sleep(60)
    assert client.code is None
    client.app.ahead = 0
    client.conn.consumed(None, client.now)
    client.run()
    client.sleep(4.9)
    assert client.code is None
    client.sleep(0.2)
    assert client.code == TOO_SLOW


# ---------------------------------------------------------------- HTTP/2


def http2_peer(ledger: Ledger, body: object = b"Hello", **keywords: object) -> OfflineHttp2:
    client = OfflineHttp2(lambda request: Response(body), ledger=ledger, **keywords)  # type: ignore[arg-type]
    client.conn.driver = Cutter(client.conn)  # type: ignore[assignment]
    return client


def test_streams_of_one_peer_count_together(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses for which no window is open, bodies, and a frame that is not whole; none of it once it has gone."""
    row = slots.board.row(1)
    client = http2_peer(account(slots, monkeypatch), bytes(100_000), opens=False)
    streams = [client.request() for _ in range(3)]
    assert row[MEMORY_HELD] == 3 * 100_000 - 65_535
    body = client.request("POST", end=False)
    client.send(body, bytes(20_000), end=False)
    client.transmit(frame_head(FrameType.DATA, 0, body, 16_000) + bytes(10_000))
    assert row[MEMORY_HELD] >= 3 * 100_000 - 65_535 + 20_000 + 10_000
    client.transmit(bytes(6_000))
    client.h2.reset_stream(body)
    client.h2.increment_flow_control_window(1 << 20)
    for stream in streams:
        client.h2.increment_flow_control_window(1 << 20, stream)
    client.flush()
    assert all(len(client.reply(stream).body) == 100_000 for stream in streams)
    client.far.lose()
    assert row[MEMORY_HELD] == 0


def test_at_the_bound_new_streams_are_refused(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=MIB)
    client = http2_peer(ledger)
    ledger.hold_memory(MIB)
    refused = client.reply(client.request())
    assert (refused.status, refused["retry-after"]) == (503, str(RETRY_AFTER))
    ledger.hold_memory(-MIB)
    assert client.reply(client.request()).status == 200


def test_the_peer_with_most_in_its_streams_is_ended(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = account(slots, monkeypatch, max_memory=MIB)
    other = http2_peer(ledger, bytes(200_000), opens=False)
    other.request()
    client = http2_peer(ledger, bytes(400_000), opens=False)
    for _ in range(4):
        client.request()
    assert not other.ended
    other.far.lose()
    assert slots.board.row(1)[HELD_CUT] == 1
    assert client.ended, "it reads nothing: not even why"
    assert slots.board.row(1)[MEMORY_HELD] == 0


def test_a_peer_that_reads_is_told_why_it_is_ended(slots: WorkerSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    client = http2_peer(account(slots, monkeypatch))
    client.conn.cut(client.far.now)
    client.listen()
    assert client.gone == [(0, 11)], "ENHANCE_YOUR_CALM"
    client.sleep(3)
    assert client.ended
